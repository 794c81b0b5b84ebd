# The program alone, on Debian. Built with: docker build -t quiver .
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# what --version says
ARG QUIVER_REVISION=unknown
ENV QUIVER_REVISION=$QUIVER_REVISION
RUN cargo build --release --locked --bin quiver

FROM debian:bookworm-slim
# for buckets behind TLS
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/quiver /usr/local/bin/quiver
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin quiver \
 && install --directory --owner=quiver --group=quiver /var/lib/quiver
USER quiver
# `all` keeps its data in quiver-data below this folder, `receive` in data
WORKDIR /var/lib/quiver
VOLUME /var/lib/quiver
# HTTP API; remote write of `receive`
EXPOSE 10902 19291
ENTRYPOINT ["quiver"]
CMD ["all"]
