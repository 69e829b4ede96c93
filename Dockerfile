# tstitch-search as a command, for whatever user runs it:
#   docker build -t tstitch-search .
#   docker run --rm --gpus all --shm-size 8g --user "$(id -u):$(id -g)" -v "$PWD:/studies" tstitch-search run study.yaml
# The current folder is /studies: studies in it, run folders and the cache of what was downloaded stay there.
FROM python:3.12-slim

# A user that the image does not know has no name and no home: both are given here. Ray asks for the name.
ENV HOME=/studies/.home USER=any HF_HOME=/studies/.home/huggingface PYTHONUNBUFFERED=1
RUN mkdir -m 1777 /studies

COPY pyproject.toml README.md LICENSE /app/
COPY tstitch_search /app/tstitch_search
COPY studies /app/studies
COPY search_spaces /app/search_spaces
RUN pip install --no-cache-dir /app

WORKDIR /studies
USER 65534:65534
ENTRYPOINT ["tstitch-search"]
CMD ["--help"]
