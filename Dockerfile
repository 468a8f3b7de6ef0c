# A static binary in an empty image: no shell, no package manager, no root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# There is no repository here: docker build --build-arg VERSION="$(git describe --tags --always)" .
ARG VERSION
RUN make static VERSION="$VERSION" && install -d -m 0700 /data

FROM scratch
COPY --from=build /src/bin/pawl-static /pawl
# keys.json, certificates and the ratchet: a local volume that belongs to this user.
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
ENTRYPOINT ["/pawl"]
# Serves 127.0.0.1 of the container. For others name an address and a guard:
#   serve --listen 0.0.0.0:6732 --tls-cert … --tls-key … --tls-client-ca …
CMD ["serve"]
