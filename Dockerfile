# The images of the mesh, one target for each program:
#
#   docker build --target mesh-agent --tag mesh-agent .
#
# `docker/build` makes them all. It can also bring programs that were built outside, for machines that have no
# Rust image: then they lie in docker/bin, RUST is any image, and nothing is compiled here.

ARG RUST=rust:1-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN docker/programs /programs

FROM ${DEBIAN} AS base
# The state directories are in the image with their owner, so that a new volume mounted there has it too.
RUN groupadd --gid 65532 mesh \
    && useradd --uid 65532 --gid mesh --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mesh \
    && for part in . ca api agent gateway; do install -d -m 0700 -o mesh -g mesh "/var/lib/mesh/$part"; done
USER mesh

FROM base AS mesh-ca
COPY --from=build /programs/mesh-ca /usr/local/bin/
EXPOSE 15011 15013
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["mesh-ca", "healthcheck"]
ENTRYPOINT ["mesh-ca"]

FROM base AS mesh-api
COPY --from=build /programs/mesh-api /usr/local/bin/
EXPOSE 15012 15014 15080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["mesh-api", "healthcheck"]
ENTRYPOINT ["mesh-api"]

FROM base AS mesh-agent
COPY --from=build /programs/mesh-agent /usr/local/bin/
EXPOSE 15006 15020 15021
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["mesh-agent", "healthcheck"]
ENTRYPOINT ["mesh-agent"]

FROM base AS mesh-gateway
COPY --from=build /programs/mesh-gateway /usr/local/bin/
EXPOSE 15020 15021
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["mesh-gateway", "healthcheck"]
ENTRYPOINT ["mesh-gateway"]

FROM base AS meshctl
COPY --from=build /programs/meshctl /usr/local/bin/
ENTRYPOINT ["meshctl"]

# Plays every app of the demo; which one, its command says.
FROM base AS mesh-demo
COPY --from=build /programs/demo /usr/local/bin/mesh-demo
ENTRYPOINT ["mesh-demo"]
