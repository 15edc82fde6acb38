# PostgreSQL of the base's Debian, where the official image cannot be had: what compose.yaml uses of it.
ARG BASE=python:3.13-slim
FROM $BASE
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-common \
    && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install -y --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner postgres --group postgres --mode 1777 /var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
