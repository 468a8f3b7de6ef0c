package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // net/http uses it
	"net/http"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc/grpclog"

	"pawl/internal/audit"
	"pawl/tezos"
)

// httpMain is the program `http [-client DEMO] URL [PAYLOAD]` of the scripts: it gets the URL, or posts
// the payload as octez-client does, with the client key of that demo if one is named, and prints status
// and body.
func httpMain() {
	if os.Args[1] == "-client" {
		os.Args = append(os.Args[:1], authenticated(os.Args[2], os.Args[3:])...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	method, body := http.MethodGet, io.Reader(nil)
	if len(os.Args) > 2 {
		method, body = http.MethodPost, strings.NewReader(`"`+os.Args[2]+`"`+"\n")
	}
	req, err := http.NewRequestWithContext(ctx, method, os.Args[1], body)
	fatalIf(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	fatalIf(err)
	answer, err := io.ReadAll(res.Body)
	fatalIf(errors.Join(err, res.Body.Close()))
	fmt.Println(res.StatusCode, strings.TrimSpace(string(answer)))
}

// authenticated adds the authentication of a demo's client to a request.
func authenticated(demo string, request []string) []string {
	client, err := readDemoClient(demo)
	fatalIf(err)
	url := request[0]
	key, err := tezos.ParsePublicKeyHash(url[strings.LastIndex(url, "/")+1:])
	fatalIf(err)
	payload, err := hex.DecodeString(request[1])
	fatalIf(err)
	signature, err := authenticate(client, key, payload)
	fatalIf(err)
	return []string{url + "?authentication=" + signature.String(), request[1]}
}

// verifyMain is the program `verify PUBLICKEY PAYLOAD SIGNATURE`.
func verifyMain() {
	key, err := tezos.ParsePublicKey(os.Args[1])
	fatalIf(err)
	payload, err := hex.DecodeString(os.Args[2])
	fatalIf(err)
	sig, err := tezos.ParseSignature(os.Args[3])
	fatalIf(err)
	fatalIf(key.Verify(tezos.NewMessage(payload), sig))
}

// chatterMain has the libraries say something by themselves, as pawl lets them.
func chatterMain() {
	muteLibraries()
	grpclog.Error("of gRPC")
	log.Print("of net/http")
}

// trailMain is the program `trail RATCHET LEVELS [SIZE]`: it adds the signatures of so many levels to the audit trail
// of a ratchet, in files of that size.
func trailMain() {
	levels, err := strconv.Atoi(os.Args[2])
	fatalIf(err)
	var options audit.Options
	if len(os.Args) > 3 {
		options.MaxSize, err = strconv.ParseInt(os.Args[3], 10, 64)
		fatalIf(err)
	}
	l, err := audit.Open(os.Args[1], options)
	fatalIf(err)
	for level := range levels {
		l.Add(audit.Event{
			Name: audit.Signed, Kind: tezos.Block, Level: int32(level + 1), Key: tezos.PublicKeyHash{byte(tezos.P256)},
			ChainID: tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}, Digest: tezos.DigestOf([]byte{byte(level)}),
		})
	}
	fatalIf(l.Close())
}

func fatalIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
