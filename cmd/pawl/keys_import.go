package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"pawl/signer/grep11"
	"pawl/tezos"
)

type keysImportCmd struct {
	keyPlace
	secretSource
	PassphraseFile string `placeholder:"FILE" help:"File with the passphrase of an encrypted key, mode 0600 (default: the terminal is asked)."`
}

func (*keysImportCmd) Help() string {
	return helpText("Reads edsk…, spsk… or p2sk…, their encrypted forms edesk…, spesk… and p2esk…, or PEM (SEC1, "+
		"PKCS #8) of Ed25519, secp256k1 or P-256. Prints and writes what createtezoskey does.\n\nThe clear key passes "+
		"through the memory of this command and, within TLS, to the GREP11 server, which has the HSM encrypt it. Run it "+
		"on a host that you trust, and destroy the other copies of the key afterwards. A key that was made in the HSM "+
		"was never in clear.",
		"pawl keys import --from alice.key", exitCodes)
}

// Validate finds a key and a passphrase that are to come from one file.
func (c *keysImportCmd) Validate() error {
	from, err := os.Stdin.Stat()
	if c.From != "-" {
		from, err = os.Stat(c.From)
	}
	phrase, otherErr := os.Stat(c.PassphraseFile)
	if err == nil && otherErr == nil && os.SameFile(from, phrase) { // what cannot be looked at cannot be read either
		return errors.New("--passphrase-file and --from name one file")
	}
	return nil
}

// Run brings the key into the HSM.
func (c *keysImportCmd) Run(ctx context.Context, s *streams) error {
	return hintInLine(c.run(ctx, s))
}

func (c *keysImportCmd) run(ctx context.Context, s *streams) error {
	if err := harden(); err != nil {
		return err
	}
	servers, err := c.servers()
	if err != nil {
		return err
	}
	secret, err := c.secretKey(ctx, s)
	if err != nil {
		return err
	}
	defer secret.Zero()
	hash := secret.PublicKey().Hash()
	if err := c.vacant(hash); err != nil {
		return err
	}
	key, err := triedKey(ctx, servers, fmt.Sprintf("importing %v", hash),
		func(ctx context.Context, client *grep11.Client) (grep11.Generated, error) {
			defer secret.Zero()
			return client.Import(ctx, secret)
		})
	if err != nil {
		return needs(err, importMechanisms)
	}
	return c.keep(s, key)
}

// importMechanisms are those of Client.Import.
const importMechanisms = "CKM_AES_KEY_GEN and CKM_AES_CBC_PAD"

// secretKey reads the key and, if it is encrypted, the passphrase.
func (c *keysImportCmd) secretKey(ctx context.Context, s *streams) (*tezos.SecretKey, error) {
	text, err := c.read(ctx, s, "Secret key: ")
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if err := notAKey(text); err != nil {
		return nil, err
	}
	secret, err := tezos.ParseSecretKey(text, func() ([]byte, error) {
		if c.PassphraseFile != "" {
			return interruptible(ctx, func() ([]byte, error) { return passphraseOf(c.PassphraseFile) })
		}
		return askHidden(ctx, "Passphrase of the key: ", "name a file with --passphrase-file")
	})
	if errors.Is(err, tezos.ErrEncryptedPEM) {
		return nil, withHint(err, "decrypt it on the way, as in: openssl pkey -in FILE | pawl keys import")
	}
	return secret, err
}
