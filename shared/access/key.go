package access

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// The form of a key: gojob_<id>_<secret><checksum>, all of it letters and digits but for the two
// underscores, so that a double click selects it and scanners for leaked secrets find it. The ID is
// no secret. The secret has 43 characters of 62, which is 256 bits. The checksum is a CRC-32 of
// what comes before it: a typo is told without looking up anything.
const (
	prefix      = "gojob_"
	idLength    = 10
	secretChars = 43
	sumChars    = 6
	// KeyLength is how many characters a key has.
	KeyLength = len(prefix) + idLength + 1 + secretChars + sumChars
)

const (
	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base36 = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// ErrMalformed is the error for a text that cannot be a key, such as a key with a typo.
var ErrMalformed = errors.New("the key has a typo")

// newKey returns a key and its ID, made from random bytes.
func newKey(random io.Reader) (key, id string, err error) {
	id, err = draw(random, base36, idLength)
	if err != nil {
		return "", "", err
	}
	secret, err := draw(random, base62, secretChars)
	if err != nil {
		return "", "", err
	}
	key = prefix + id + "_" + secret
	return key + checksum(key), id, nil
}

// draw returns n characters of the alphabet, each as probable as any other.
func draw(random io.Reader, alphabet string, n int) (string, error) {
	text := make([]byte, 0, n)
	var buffer [64]byte
	limit := 256 - 256%len(alphabet) // bytes from here on would favour some characters
	for len(text) < n {
		if _, err := io.ReadFull(random, buffer[:]); err != nil {
			return "", fmt.Errorf("random bits of a key: %w", err)
		}
		for _, b := range buffer {
			if int(b) < limit && len(text) < n {
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(text), nil
}

// checksum is the CRC-32 (IEEE 802.3) of the text in base 62.
func checksum(text string) string {
	n := crc32.ChecksumIEEE([]byte(text))
	var sum [sumChars]byte
	for i := sumChars - 1; i >= 0; i-- {
		sum[i] = base62[n%62]
		n /= 62
	}
	return string(sum[:])
}

// IsKey reports whether a bearer token looks like a key rather than like another token.
func IsKey(token string) bool { return strings.HasPrefix(token, prefix) }

// keyID returns the ID of a key of the right form.
func keyID(key string) (string, error) {
	if len(key) != KeyLength || !IsKey(key) {
		return "", fmt.Errorf("%w: it has %d characters; a key has %d, and begins with %s",
			ErrMalformed, len(key), KeyLength, prefix)
	}
	body, sum := key[:KeyLength-sumChars], key[KeyLength-sumChars:]
	id, rest, found := strings.Cut(body[len(prefix):], "_")
	if !found || len(id) != idLength || strings.Trim(id, base36) != "" || strings.Trim(rest, base62) != "" {
		return "", fmt.Errorf("%w: it has a character that is in no key", ErrMalformed)
	}
	if checksum(body) != sum {
		return "", fmt.Errorf("%w: its checksum does not match", ErrMalformed)
	}
	return id, nil
}

// digest is what is stored of a key. The secret in it has 256 random bits, so a slow hash, as for
// passwords, would make nothing safer.
func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
