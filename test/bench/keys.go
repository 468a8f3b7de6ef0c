package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// folder holds what one pawl serves: keys.json and its ratchet.
type folder string

func (f folder) config() string  { return filepath.Join(string(f), "keys.json") }
func (f folder) ratchet() string { return filepath.Join(string(f), "ratchet.db") }
func (f folder) witness() string { return filepath.Join(string(f), "witness") }

// makeFolder has a card make the keys of a plan, of its kinds in turn, and registers them.
func makeFolder(ctx context.Context, path string, hsm grep11.Config, p plan) ([]signingKey, error) {
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	client, err := grep11.Dial(hsm)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	keys := make([]signingKey, p.keys)
	err = forEach(p.keys, func(i int) (err error) {
		keys[i].made, err = client.Generate(ctx, p.kinds[i%len(p.kinds)], false)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := folder(path)
	register := f.register
	if p.program != "" {
		register = f.registerWith(p.program)
	}
	return keys, errors.Join(register(ctx, keys), f.writeConfig(hsm, keys))
}

// signingKey is a key that a card made.
type signingKey struct{ made grep11.Generated }

func (k signingKey) public() tezos.PublicKey { return k.made.PublicKey }

func (f folder) register(ctx context.Context, keys []signingKey) (err error) {
	if err := sqlite.Create(ctx, f.ratchet()); err != nil {
		return err
	}
	if err := os.Mkdir(f.witness(), 0o700); err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, f.ratchet(), sqlite.Options{Witness: f.witness()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return forEach(len(keys), func(i int) error {
		_, err := db.Change(ctx, ratchet.Registering(ratchet.Registration{Key: keys[i].public().Hash(), AnyChain: true}))
		return err
	})
}

// registerWith has another program make the ratchet, whose schema may be an older one.
func (f folder) registerWith(program string) func(context.Context, []signingKey) error {
	pawl := func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, program, append([]string{"ratchet"}, args...)...) //nolint:gosec // our program
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s ratchet %s: %v: %s", program, args[0], err, out)
		}
		return nil
	}
	return func(ctx context.Context, keys []signingKey) error {
		err := pawl(ctx, "init", f.ratchet())
		for _, key := range keys {
			for _, chain := range chains {
				hash := key.public().Hash().String()
				err = errors.Join(err, pawl(ctx, "register", hash, "--db", f.ratchet(), "--chain", chain.String(), "--from-level",
					"0"))
			}
		}
		return err
	}
}

func (f folder) writeConfig(hsm grep11.Config, keys []signingKey) error {
	entries := make(map[string]any, len(keys))
	for _, key := range keys {
		entries[key.public().Hash().String()] = map[string]string{
			"public_key": key.public().String(), "secret_key": key.made.Blob.Hex(),
		}
	}
	config, err := json.Marshal(map[string]any{
		"url": hsm.Address, "cert_path": hsm.CertPath, "key_path": hsm.KeyPath, "cacert_path": hsm.CACertPath,
		"max_in_flight": hsm.MaxInFlight, "db": "ratchet.db", "witness": f.witness(), "policy": map[string]any{
			"baking":     true,
			"operations": []string{},
		}, "keys": entries,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(f.config(), config, 0o600)
}

// forEach calls do for 0 to n-1, sixteen at a time.
func forEach(n int, do func(i int) error) error {
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		errs    []error
	)
	next := make(chan int)
	for range 16 {
		workers.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}
