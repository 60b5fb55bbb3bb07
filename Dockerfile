# The one process with python, node and a JDK; docs/docker.md says how to run it.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=debian:13-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY . .
# Go takes the version from .git. For a build without it, set --build-arg VERSION=v1.2.3.
ARG VERSION COMMIT DATE
ARG DRIVERS JOBS
RUN git rev-parse HEAD >/dev/null 2>&1 || export GOFLAGS=-buildvcs=false; \
    CGO_ENABLED=0 go build -trimpath -tags "grpcnotrace,disable_grpc_modules,$DRIVERS,$JOBS" -o /job-orchestrator -ldflags "-s -w \
    -X go-job-orchestrator/shared/version.version=$VERSION \
    -X go-job-orchestrator/shared/version.commit=$COMMIT \
    -X go-job-orchestrator/shared/version.date=$DATE" ./functions/cmd/all

FROM ${BASE_IMAGE}
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates curl default-jdk-headless nodejs python3 && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin orchestrator
COPY --from=build /job-orchestrator /usr/local/bin/
COPY docker-entrypoint.sh /usr/local/bin/
ENV HOST=0.0.0.0 PORT=8080 STORAGE_DIR=/data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD curl -fsS -o /dev/null "http://localhost:$PORT/healthz" || exit 1
# The entrypoint starts as root only to change to the owner of /data.
ENTRYPOINT ["docker-entrypoint.sh"]
