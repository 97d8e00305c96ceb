# docker build -t adlk .                                          for processors
# docker build -t adlk --build-arg CUDA="tensorflow[and-cuda]" .  for a GPU
# docker run --rm -it -v "$PWD":/adlk adlk                        add --gpus all for a GPU
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git graphviz make \
    && rm -rf /var/lib/apt/lists/*

ARG CUDA=""
COPY requirements.txt /tmp/
RUN pip install --no-cache-dir -r /tmp/requirements.txt ${CUDA}

WORKDIR /adlk
CMD ["bash"]
