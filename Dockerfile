# A static binary in an empty image: no shell, no package manager, no root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make static

FROM scratch
COPY --from=build /src/bin/pawl-static /pawl
# Files that the daemon reads (keys.json, certificates) and writes (the ratchet)
# are a volume that belongs to this user.
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 6732
ENTRYPOINT ["/pawl"]
CMD ["serve", "--config", "/data/keys.json"]
