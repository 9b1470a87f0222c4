# Arauto as a container image.
#
# No container engine runs where this project is tested, so this file has been linted but never built there; see README.
#
#   docker build --tag arauto .

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --release --package api --bin arauto

FROM debian:bookworm-slim
# Certificates of the authorities, for key sets and providers that are reached by https: the newest, whichever that is.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin arauto
COPY --from=build /source/target/release/arauto /usr/local/bin/arauto
USER 10001
# Read from here: arauto.toml, where there is one.
WORKDIR /etc/arauto
ENV ARAUTO_LISTEN=0.0.0.0:8080 \
    ARAUTO_LOG_FORMAT=json
EXPOSE 8080
# SIGTERM closes streams one by one (ARAUTO_DRAIN_WINDOW) and ends within ARAUTO_SHUTDOWN_TIMEOUT: give it longer than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/ready HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["arauto"]
CMD ["serve"]
