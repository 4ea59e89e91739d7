package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height   = 8 // levels of the tree that a tile spans
	width    = 1 << height
	noteSize = 64 << 10
)

// files is the folder of one log.
type files struct{ folder string }

func (f files) read(name string, limit int64) ([]byte, error) {
	path := filepath.Join(f.folder, filepath.FromSlash(name))
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes", name, info.Size())
	}
	return os.ReadFile(path)
}

// list names what lies in a folder, in order; a folder that is not there is empty.
func (f files) list(folder string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(f.folder, filepath.FromSlash(folder)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	sort.Strings(names)
	return names, err
}

// tilePath names a tile, or a bundle, as tlog-tiles does.
func tilePath(level string, index int64, count int) string {
	path := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		path = fmt.Sprintf("x%03d/%s", index%1000, path)
	}
	if count < width {
		path += fmt.Sprintf(".p/%d", count)
	}
	return "tile/" + level + "/" + path
}

// readTile reads a tile of hashes as it lies there.
func (f files) readTile(tile tlog.Tile) ([]byte, error) {
	size := tile.W * tlog.HashSize
	name := tilePath(strconv.Itoa(tile.L), tile.N, tile.W)
	data, err := f.read(name, int64(size))
	if err == nil && len(data) != size {
		err = fmt.Errorf("%s has %d bytes and not %d", name, len(data), size)
	}
	return data, err
}

// readBundle reads the entries under a tile of level 0.
func (f files) readBundle(index int64, count int) ([][]byte, error) {
	name := tilePath("entries", index, count)
	data, err := f.read(name, width*(2+65535))
	if err != nil {
		return nil, err
	}
	entries, err := splitEntries(data)
	if err == nil && len(entries) != count {
		err = fmt.Errorf("%d entries and not %d", len(entries), count)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %v", name, err)
	}
	return entries, nil
}

// splitEntries reads entries, each after its length in two bytes.
func splitEntries(data []byte) ([][]byte, error) {
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, errors.New("an entry is cut off")
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	return entries, nil
}

// commit is one object of commit/: a checkpoint, and the entries that led to it.
type commit struct {
	note    []byte
	entries [][]byte
}

func parseCommit(data []byte) (*commit, error) {
	const magic = "mvault-commit-v1\n"
	if !strings.HasPrefix(string(data), magic) {
		return nil, errors.New("it is no commit")
	}
	data = data[len(magic):]
	var parts [3][]byte // certificate, checkpoint, edge
	for i := range parts {
		if len(data) < 4 || uint64(len(data)-4) < uint64(binary.BigEndian.Uint32(data)) {
			return nil, errors.New("it is cut off")
		}
		end := 4 + int(binary.BigEndian.Uint32(data))
		parts[i], data = data[4:end], data[end:]
	}
	entries, err := splitEntries(data)
	return &commit{parts[1], entries}, err
}

// parseCheckpoint reads the text of a checkpoint: origin, size and root.
func parseCheckpoint(text, origin string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, errors.New("a checkpoint has three lines")
	}
	if lines[0] != origin {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is of %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("%q is no size", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("%q is no root", lines[2])
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return tree, nil
}

// openNote demands that who may write the log has signed a checkpoint.
func openNote(data []byte, keys *keyring) (tlog.Tree, string, error) {
	found, err := note.Open(data, keys.log)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	tree, err := parseCheckpoint(found.Text, keys.origin)
	return tree, found.Text, err
}

func readCheckpoint(from files, keys *keyring) (tlog.Tree, string, error) {
	data, err := from.read("checkpoint", noteSize)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	tree, text, err := openNote(data, keys)
	if err == nil && tree.N == 0 {
		err = errors.New("the log is empty")
	}
	if err != nil {
		err = fmt.Errorf("checkpoint: %v", err)
	}
	return tree, text, err
}
