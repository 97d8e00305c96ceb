"""What the CycleGAN of chapter 7 consists of besides its script."""
