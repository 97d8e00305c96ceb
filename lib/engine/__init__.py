"""The training step of several networks, on TensorFlow, JAX and PyTorch."""
