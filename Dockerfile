# syntax=docker/dockerfile:1

# Debian 12 on both sides, so that the libraries are those that the program was linked with.
FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches keep dependencies between builds; the program leaves them before they are unmounted.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package tidegate \
    && install -D --mode=0755 target/release/tidegate /out/tidegate \
    && strip /out/tidegate

# libc, libgcc, OpenSSL and certificate authorities; no shell, no package manager, not root.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Tidegate" \
      org.opencontainers.image.description="Kafka to PostgreSQL, every record effective exactly once" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/tidegate /usr/local/bin/tidegate
ENV TIDEGATE_CONFIG=/etc/tidegate/tidegate.yaml \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER nonroot:nonroot
EXPOSE 9464
# Asks /livez of the process in this container: its loops, not Kafka or PostgreSQL, which restarting wouldn't help.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/tidegate", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tidegate"]
CMD ["run"]
