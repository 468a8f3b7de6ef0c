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
	"strings"

	"google.golang.org/grpc/grpclog"

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

func fatalIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
