package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const algorithm = 4 // of a cosignature with a time, by Ed25519 (C2SP tlog-cosignature)

// witness verifies cosignatures.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }

// Verify checks a signature line: eight bytes of time, then the signature.
func (w *witness) Verify(text, line []byte) bool {
	if len(line) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(line), text)
	return ed25519.Verify(w.key, []byte(signed), line[8:])
}

// newWitness reads a verifier key of a witness, which x/mod does not know.
func newWitness(text string) (note.Verifier, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("a key is NAME+HASH+KEY")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algorithm {
		return nil, errors.New("it is not of the type of a cosignature")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:])
	if told, err := strconv.ParseUint(parts[1], 16, 32); err != nil || uint32(told) != hash {
		return nil, errors.New("its hash is of another key")
	}
	return &witness{parts[0], hash, key[1:]}, nil
}

// checkWitnesses looks at all cosignatures: none may be of another history, and enough of this checkpoint.
func checkWitnesses(from files, keys *keyring, tree *computed, text string) error {
	if keys.witnesses == nil {
		return nil
	}
	sizes, err := from.list("cosigned")
	if err != nil {
		return err
	}
	var notes [][]byte
	for _, size := range sizes {
		names, err := from.list("cosigned/" + size)
		if err != nil {
			return err
		}
		for _, name := range names {
			data, err := from.read("cosigned/"+size+"/"+name, noteSize)
			if err != nil {
				return err
			}
			if err := checkCosigned(data, keys, tree); err != nil {
				return fmt.Errorf("cosigned/%s/%s: %v", size, name, err)
			}
			notes = append(notes, data)
		}
	}
	return demandWitnesses(notes, keys, text)
}

// checkCosigned refuses when a witness was shown another history; what no witness signed is nothing.
func checkCosigned(data []byte, keys *keyring, tree *computed) error {
	found, err := note.Open(data, note.VerifierList(keys.witnesses...))
	if err != nil {
		return nil
	}
	head, err := parseCheckpoint(found.Text, keys.origin)
	if err != nil {
		return err
	}
	if head.N > tree.size() {
		return fmt.Errorf("a witness saw %d entries: the end was cut off", head.N)
	}
	return checkExtends(tree, head.N, head.Hash)
}

// demandWitnesses counts who cosigned a checkpoint in any of the notes, each once.
func demandWitnesses(notes [][]byte, keys *keyring, text string) error {
	counted := 0
	for _, one := range keys.witnesses {
		for _, data := range notes {
			found, err := note.Open(data, note.VerifierList(one))
			if err == nil && bytes.Equal([]byte(found.Text), []byte(text)) {
				counted++
				break
			}
		}
	}
	if counted < *need {
		return fmt.Errorf("%d of %d witnesses have cosigned the checkpoint", counted, *need)
	}
	return nil
}
