// Command logcheck verifies an audit log from its files alone.
//
// It shares no code with the vault: trees, proofs and notes are those of
// golang.org/x/mod/sumdb, and names, entry bundles and commits are read as
// docs/format.md describes them. What the log says is computed from its
// entries; tiles, proofs and roots are then compared with that.
//
//	logcheck [flags] FOLDER KEY...
//
// FOLDER is log/LOG of a vault, KEY a verifier key of somebody who may write
// that log. It prints "accept: ..." and ends with status 0, or "refuse: ..."
// with the reason and ends with status 1; 2 means that it was called wrongly.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// texts is a flag that may be given several times.
type texts []string

func (t *texts) String() string     { return strings.Join(*t, " ") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

var (
	pins, witnesses, proofs, consistencies texts

	need      = flag.Int("need", 0, "demand that so many of the witnesses have cosigned the checkpoint")
	tilesOnly = flag.Bool("tiles-only", false, "believe tiles and entries as x/mod does: to show what that misses")
)

func main() {
	flag.Var(&pins, "pin", "a tree that the log must continue, as SIZE:ROOT, the root in hexadecimal")
	flag.Var(&witnesses, "witness", "the verifier key of a witness")
	flag.Var(&proofs, "proof", "a file with a c2sp.org/tlog-proof to check")
	flag.Var(&consistencies, "consistency", "a file with a consistency proof to check, in JSON")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: logcheck [flags] FOLDER KEY...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	keys, err := openKeys(flag.Args()[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	told, err := check(files{flag.Arg(0)}, keys)
	if err != nil {
		fmt.Printf("refuse: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("accept: %s\n", told)
}

// keyring is whose signatures count.
type keyring struct {
	origin    string
	log       note.Verifiers
	witnesses []note.Verifier
}

func openKeys(writers []string) (*keyring, error) {
	found := &keyring{}
	var verifiers []note.Verifier
	for _, text := range writers {
		verifier, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no verifier key: %v", text, err)
		}
		if found.origin != "" && verifier.Name() != found.origin {
			return nil, errors.New("the keys are of different logs")
		}
		found.origin = verifier.Name()
		verifiers = append(verifiers, verifier)
	}
	found.log = note.VerifierList(verifiers...)
	for _, text := range witnesses {
		verifier, err := newWitness(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no key of a witness: %v", text, err)
		}
		found.witnesses = append(found.witnesses, verifier)
	}
	return found, nil
}

// check does every check in turn; what it returns is what was found to hold.
func check(from files, keys *keyring) (string, error) {
	head, text, err := readCheckpoint(from, keys)
	if err != nil {
		return "", err
	}
	if *tilesOnly {
		return fmt.Sprintf("%d entries", head.N), checkAsTilesSay(from, head)
	}
	tree, err := readEntries(from, head)
	if err != nil {
		return "", err
	}
	steps := []func() error{
		func() error { return checkTiles(from, tree) },
		func() error { return checkInclusion(from, head, tree) },
		func() error { return checkCommits(from, keys, tree) },
		func() error { return checkPins(tree) },
		func() error { return checkWitnesses(from, keys, tree, text) },
		func() error { return checkProofs(keys, tree) },
		func() error { return checkConsistencies(tree) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d entries, root %x", head.N, head.Hash[:]), nil
}
