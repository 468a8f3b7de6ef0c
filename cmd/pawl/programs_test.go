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

// httpMain is the program `http URL [PAYLOAD]` of the scripts: it gets the URL,
// or posts the payload as octez-client does, and prints status and body.
func httpMain() {
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
