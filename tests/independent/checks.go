package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// computed is the tree over the entries: every hash in it was computed here.
type computed struct {
	head   tlog.Tree
	leaves []tlog.Hash
	hashes []tlog.Hash // in the order of tlog.StoredHashIndex
}

func (c *computed) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(c.hashes)) {
			return nil, errors.New("there is no such hash")
		}
		found[i] = c.hashes[index]
	}
	return found, nil
}

func (c *computed) add(entry []byte) error {
	n := int64(len(c.leaves))
	leaf := tlog.RecordHash(entry)
	hashes, err := tlog.StoredHashesForRecordHash(n, leaf, c)
	if err != nil {
		return err
	}
	c.leaves, c.hashes = append(c.leaves, leaf), append(c.hashes, hashes...)
	return nil
}

func (c *computed) size() int64 { return int64(len(c.leaves)) }

// root gives the root that the first n entries had.
func (c *computed) root(n int64) (tlog.Hash, error) { return tlog.TreeHash(n, c) }

// readEntries computes the tree from the entry bundles, and demands that it has the signed root.
func readEntries(from files, head tlog.Tree) (*computed, error) {
	tree := &computed{head: head}
	for tree.size() < head.N {
		count := head.N - tree.size()
		if count > width {
			count = width
		}
		entries, err := from.readBundle(tree.size()/width, int(count))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if err := tree.add(entry); err != nil {
				return nil, err
			}
		}
	}
	root, err := tree.root(head.N)
	if err == nil && root != head.Hash {
		err = errors.New("the entries do not lead to the signed root")
	}
	return tree, err
}

// checkTiles compares every tile that the tree has with what its entries make it.
func checkTiles(from files, tree *computed) error {
	for level := 0; tree.size()>>(height*level) > 0; level++ {
		hashes := tree.size() >> (height * level)
		for n := int64(0); n*width < hashes; n++ {
			tile := tlog.Tile{H: height, L: level, N: n, W: width}
			if rest := hashes - n*width; rest < width {
				tile.W = int(rest)
			}
			if err := checkTile(from, tile, tree); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTile(from files, tile tlog.Tile, tree *computed) error {
	stored, err := from.readTile(tile)
	if err != nil {
		return err
	}
	made, err := tlog.ReadTileData(tile, tree)
	if err == nil && !bytes.Equal(stored, made) {
		err = fmt.Errorf("%s is not what the entries make it", tile.Path())
	}
	return err
}

// tileReader hands tiles to x/mod's own reader, which checks them against the tree.
type tileReader struct{ from files }

func (t tileReader) Height() int { return height }

func (t tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := t.from.readTile(tile)
		if err != nil {
			return nil, err
		}
		found[i] = data
	}
	return found, nil
}

func (t tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// sample gives indexes of entries: all of a small log, of a larger one some at every edge and between.
func sample(size int64) []int64 {
	var found []int64
	step := size/200 + 1
	for n := int64(0); n < size; n++ {
		if n%step == 0 || n == size-1 || n%width == 0 && n/width < 8 || n%width == width-1 && n/width < 8 {
			found = append(found, n)
		}
	}
	return found
}

// checkInclusion proves entries by the stored tiles, and checks those proofs with the hashes of the entries.
func checkInclusion(from files, head tlog.Tree, tree *computed) error {
	stored := tlog.TileHashReader(head, tileReader{from})
	for _, n := range sample(head.N) {
		proof, err := tlog.ProveRecord(head.N, n, stored)
		if err != nil {
			return fmt.Errorf("entry %d: %v", n, err)
		}
		if err := tlog.CheckRecord(proof, head.N, head.Hash, n, tree.leaves[n]); err != nil {
			return fmt.Errorf("entry %d: %v", n, err)
		}
	}
	return nil
}

// checkAsTilesSay takes a leaf for the entry's when x/mod's reader of tiles hands it out.
func checkAsTilesSay(from files, head tlog.Tree) error {
	stored := tlog.TileHashReader(head, tileReader{from})
	for n := int64(0); n < head.N; n += width {
		count := head.N - n
		if count > width {
			count = width
		}
		entries, err := from.readBundle(n/width, int(count))
		if err != nil {
			return err
		}
		for i, entry := range entries {
			index := tlog.StoredHashIndex(0, n+int64(i))
			hashes, err := stored.ReadHashes([]int64{index})
			if err != nil {
				return err
			}
			if hashes[0] != tlog.RecordHash(entry) {
				return fmt.Errorf("entry %d is not what its leaf says", n+int64(i))
			}
		}
	}
	return nil
}

// checkCommits follows the commits, where they are there: those that extend each other must end at the checkpoint.
func checkCommits(from files, keys *keyring, tree *computed) error {
	names, err := from.list("commit")
	if err != nil || names == nil {
		return err
	}
	chain := &computed{}
	for _, name := range names {
		data, err := from.read("commit/"+name, 2<<20)
		if err != nil {
			return err
		}
		if err := chain.follow(name, data, keys); err != nil {
			return err
		}
	}
	if chain.size() < tree.size() {
		return fmt.Errorf("the commits end at entry %d, and the checkpoint has %d", chain.size(), tree.size())
	}
	root, err := chain.root(tree.size())
	if err == nil && root != tree.head.Hash {
		err = errors.New("the commits tell another history than the checkpoint")
	}
	return err
}

// follow takes a commit that extends the chain; one that nobody who may write has signed does not count.
func (c *computed) follow(name string, data []byte, keys *keyring) error {
	found, err := parseCommit(data)
	if err != nil {
		return nil
	}
	head, _, err := openNote(found.note, keys)
	if err != nil {
		return nil
	}
	before := c.size()
	if head.N != before+int64(len(found.entries)) {
		return fmt.Errorf("commit %s does not follow %d entries: one is missing, or two histories are about", name, before)
	}
	for _, entry := range found.entries {
		if err := c.add(entry); err != nil {
			return err
		}
	}
	root, err := c.root(head.N)
	if err == nil && root != head.Hash {
		err = fmt.Errorf("commit %s was altered: its entries do not lead to its root", name)
	}
	return err
}

// checkPins demands that the log continues each tree that somebody has seen of it.
func checkPins(tree *computed) error {
	for _, pin := range pins {
		sizeText, rootText, _ := strings.Cut(pin, ":")
		size, err := strconv.ParseInt(sizeText, 10, 64)
		root, rootErr := hex.DecodeString(rootText)
		if err != nil || rootErr != nil || len(root) != tlog.HashSize || size < 1 {
			return fmt.Errorf("%q is no pin", pin)
		}
		if size > tree.size() {
			return fmt.Errorf("%d entries were seen, and %d are left: its end was cut off", size, tree.size())
		}
		if err := checkExtends(tree, size, asHash(root)); err != nil {
			return err
		}
	}
	return nil
}

// asHash takes bytes for a hash; what is too short for one is filled up with zeros and fits nothing.
func asHash(data []byte) (hash tlog.Hash) {
	copy(hash[:], data)
	return hash
}

func checkExtends(tree *computed, size int64, root tlog.Hash) error {
	if size == tree.size() {
		if root != tree.head.Hash {
			return fmt.Errorf("another history of %d entries was seen", size)
		}
		return nil
	}
	proof, err := tlog.ProveTree(tree.size(), size, tree)
	if err != nil {
		return err
	}
	if tlog.CheckTree(proof, tree.size(), tree.head.Hash, size, root) != nil {
		return fmt.Errorf("another history of the first %d entries was seen", size)
	}
	return nil
}

// checkProofs checks what the vault hands out as proof that an entry was logged.
func checkProofs(keys *keyring, tree *computed) error {
	for _, name := range proofs {
		data, err := os.ReadFile(name)
		if err == nil {
			err = checkProof(string(data), keys, tree)
		}
		if err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
	}
	return nil
}

func checkProof(text string, keys *keyring, tree *computed) error {
	top, signed, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(top, "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return errors.New("it is no tlog-proof with an entry")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	head, noteText, err := openNote([]byte(signed), keys)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, head.N, head.Hash, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	if head.N > tree.size() {
		return errors.New("its checkpoint is beyond the log")
	}
	if err := demandWitnesses([][]byte{[]byte(signed)}, keys, noteText); err != nil {
		return err
	}
	return checkExtends(tree, head.N, head.Hash)
}

// consistency is what the vault hands out as proof that one head extends another.
type consistency struct {
	Old, New struct {
		Size int64
		Root []byte
	}
	Hashes [][]byte
}

func checkConsistencies(tree *computed) error {
	for _, name := range consistencies {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var found consistency
		if err := json.Unmarshal(data, &found); err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
		var proof tlog.TreeProof
		for _, hash := range found.Hashes {
			proof = append(proof, asHash(hash))
		}
		older, newer := asHash(found.Old.Root), asHash(found.New.Root)
		if err := tlog.CheckTree(proof, found.New.Size, newer, found.Old.Size, older); err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
		if err := checkExtends(tree, found.New.Size, newer); err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
	}
	return nil
}
