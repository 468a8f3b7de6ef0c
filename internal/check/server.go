package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"pawl/internal/config"
	"pawl/signer/grep11"
)

// ownFiles is the remedy where no server was asked: a file of this host forbade it, and
// has a finding with the cure if it is one of a certificate or a mode.
const ownFiles = "no server is to blame: mend the file that is named, as the findings of keys.json say"

// serversOf are the GREP11 servers of a keys.json.
func serversOf(cfg *config.Config) []grep11.Config {
	if cfg.HSM.Address == "" {
		return nil // Load has said so
	}
	return cfg.Servers()
}

// clockTolerance is how far the clocks of two hosts may differ before it is told: a
// Tezos block comes every 6 seconds, and dates in headers are whole seconds.
const clockTolerance = 5 * time.Second

// server checks one server: its TLS, its mechanisms, and a signature of each key.
func (r *Report) server(ctx context.Context, server grep11.Config, keys []config.KeySpec) {
	subject := "server " + server.Address
	if !r.handshake(ctx, subject, server) {
		return
	}
	client, err := grep11.Dial(server)
	if err != nil {
		r.fail(subject, ownFiles, "%v", err)
		return
	}
	defer client.Close() //nolint:errcheck // nothing is under way
	mechanisms, err := client.Mechanisms(ctx)
	if err != nil {
		if !r.ended(ctx, subject) {
			r.fail(subject, remedyFor(err), "%v", err)
		}
		return
	}
	if len(mechanisms) == 0 {
		r.fail(subject, "have the HSM's administrator see to the card: a whole one lists what it can do",
			"offers 0 mechanisms")
	} else {
		r.ok(subject, "offers %s", counted(len(mechanisms), "mechanism"))
	}
	r.serverClock(ctx, subject, client)
	all := probeKeys(ctx, client, mechanisms, keys)
	probes := slices.DeleteFunc(slices.Clone(all), func(p keyProbe) bool { return errors.Is(p.err, errNotReached) })
	for _, p := range probes {
		r.probe(subject, p)
	}
	r.wrappingKeys(subject, probes)
	if left := len(all) - len(probes); left > 0 && r.ended(ctx, fmt.Sprintf("%s at %s", counted(left, "key"), subject)) {
		return
	}
	r.dialects(ctx, subject, server, probes)
	r.latency(ctx, subject, probes)
	r.ended(ctx, "dialects and signing time of "+subject)
}

// handshake checks the TLS of a server, and says whether there is one to go on with.
func (r *Report) handshake(ctx context.Context, subject string, server grep11.Config) bool {
	peer, err := grep11.Handshake(ctx, server)
	if err != nil {
		if r.ended(ctx, subject) {
			return false
		}
		if len(peer.Certificates) > 0 && !validNow(peer) {
			r.certificate(subject, "its ", peer.Certificates[0])
			return false
		}
		r.fail(subject, handshakeRemedy(err), "%v", err)
		return false
	}
	r.ok(subject, "%s after %s", peer.Version, milliseconds(peer.Elapsed))
	r.certificate(subject, "its ", peer.Certificates[0])
	return true
}

func validNow(peer grep11.Peer) bool {
	now := time.Now()
	return now.After(peer.Certificates[0].NotBefore) && now.Before(peer.Certificates[0].NotAfter)
}

func handshakeRemedy(err error) string {
	_, refused := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	_, network := errors.AsType[net.Error](err)
	switch {
	case refused:
		return "see whether cacert_path is the CA of this server, and server_name a name in its certificate"
	case noTLS:
		return "see whether url is that of a GREP11 server: what answers there speaks no TLS"
	case network || errors.Is(err, io.EOF):
		return "see that the server runs, that url is right, and that no firewall is between"
	}
	return ownFiles
}

// serverClock compares the clocks, if the server tells its own.
func (r *Report) serverClock(ctx context.Context, subject string, client *grep11.Client) {
	sent := time.Now()
	told, err := client.Clock(ctx)
	if err != nil || told.IsZero() {
		return // most servers tell none; whether it answers is known already
	}
	if off := told.Sub(sent).Abs(); off > clockTolerance {
		r.warn(subject, "set both clocks by NTP", "its clock and that of this host differ by %v", off.Round(time.Second))
		return
	}
	r.ok(subject, "its clock agrees with that of this host")
}

// dialects says in which dialects the server reads keys.
func (r *Report) dialects(ctx context.Context, subject string, server grep11.Config, probes []keyProbe) {
	at := slices.IndexFunc(probes, func(p keyProbe) bool { return p.err == nil && p.signs != nil })
	if at < 0 { // a server that does not read the key refuses it with one code or another
		at = slices.IndexFunc(probes, keyProbe.refused)
	}
	if at < 0 {
		return
	}
	var read []string
	for _, dialect := range []grep11.Dialect{grep11.V1, grep11.V2} {
		err := probeDialect(ctx, server, dialect, probes[at].config)
		switch {
		case over(ctx):
			return
		case err == nil:
			read = append(read, string(dialect))
		case grep11.Transient(err):
			r.warn(subject, "check again when the server answers", "does not tell whether it reads dialect %s: %v", dialect, err)
			return
		}
	}
	configured, _ := grep11.ParseDialect(string(server.Dialect)) // Load has checked it
	switch {
	case len(read) == 0: // the key or the server is in trouble, as its probe has said
	case probes[at].err != nil:
		r.fail(subject, fmt.Sprintf("set \"dialect\": %q in keys.json", read[0]),
			"reads dialect %s, and not %s as keys.json has it", read[0], configured)
	default:
		r.ok(subject, "reads dialect %s; keys.json has %s", strings.Join(read, " and "), configured)
	}
}

// wrappingKeys says which master keys wrap the blobs, and whether the server has them.
func (r *Report) wrappingKeys(subject string, probes []keyProbe) {
	type use struct{ taken, refused, unknown int }
	uses := make(map[[16]byte]*use)
	for _, p := range probes {
		header, err := p.config.Blob.Header()
		if err != nil {
			continue
		}
		if uses[header.WrappingKeyID] == nil {
			uses[header.WrappingKeyID] = new(use)
		}
		switch u := uses[header.WrappingKeyID]; {
		case p.err == nil:
			u.taken++
		case p.otherMaster():
			u.refused++
		default:
			u.unknown++
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(uses), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) {
		switch u := uses[id]; {
		case u.taken > 0:
			r.ok(subject, "has master key %x, which wraps %s", id, counted(u.taken+u.refused+u.unknown, "key"))
		case u.refused > 0:
			r.fail(subject, "name the server of the card that made these keys, or restore their blobs as they were "+
				"rewrapped for this one",
				"has not master key %x, which wraps %s", id, counted(u.refused+u.unknown, "key"))
		default:
			r.warn(subject, "mend what keeps the keys from signing", "may have master key %x, which wraps %s: none has signed",
				id, counted(u.unknown, "key"))
		}
	}
}
