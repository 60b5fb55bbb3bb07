package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A sealed text is sealMagic, the ID of the token key, a salt, and what AES-256-GCM makes of the
// text: a nonce, the encrypted text and a tag. The key of AES is derived by HKDF-SHA256 from the
// token key, the salt and the purpose, so it is used once. The parts are the additional data, with
// all that comes before the nonce.
const (
	sealMagic   = "gojs\x01" // the last byte is the version
	keyIDBytes  = 8
	saltBytes   = 32
	sealHeader  = len(sealMagic) + keyIDBytes + saltBytes
	sealMinimum = sealHeader + 12 + 16 // the nonce and the tag of GCM
)

// The errors of Open.
var (
	// ErrSealed means that a text was not sealed for this purpose and these parts, or was changed.
	ErrSealed = errors.New("the sealed text was changed, or belongs to something else")
	// ErrSealKey means that the token key of a sealed text is not among those that are known.
	ErrSealKey = errors.New("the text was sealed under a key that is not in TOKEN_KEYS any more")
)

// Seal encrypts a text under the first key, so that only Open with the same purpose and parts
// returns it.
func (k Keys) Seal(text []byte, purpose string, parts ...string) ([]byte, error) {
	out := make([]byte, sealHeader, sealMinimum+len(text))
	copy(out, sealMagic)
	copy(out[len(sealMagic):], keyID(k.keys[0]))
	salt := out[len(sealMagic)+keyIDBytes:]
	_, _ = rand.Read(salt) // it never fails
	aead, err := sealing(k.keys[0], salt, purpose)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, text, bind(out[:sealHeader], parts)), nil //nolint:gosec // each text has its own key
}

// Open decrypts what Seal returned, under the key that it was sealed with.
func (k Keys) Open(sealed []byte, purpose string, parts ...string) ([]byte, error) {
	if len(sealed) < sealMinimum || string(sealed[:len(sealMagic)]) != sealMagic {
		return nil, ErrSealed
	}
	id, salt := sealed[len(sealMagic):len(sealMagic)+keyIDBytes], sealed[len(sealMagic)+keyIDBytes:sealHeader]
	for _, key := range k.keys {
		if !hmac.Equal(id, keyID(key)) {
			continue
		}
		aead, err := sealing(key, salt, purpose)
		if err != nil {
			return nil, err
		}
		text, err := aead.Open(nil, nil, sealed[sealHeader:], bind(sealed[:sealHeader], parts))
		if err != nil {
			return nil, ErrSealed
		}
		return text, nil
	}
	return nil, ErrSealKey
}

// sealing returns the cipher of one sealed text.
func sealing(key, salt []byte, purpose string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, salt, "go-job-orchestrator/seal/v1/"+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// keyID tells the token keys apart in sealed texts, and tells nothing else about them.
func keyID(key []byte) []byte { return code(key, "seal/key-id/v1", nil)[:keyIDBytes] }

// bind returns the additional data: the header, and each part with its length before it.
func bind(header []byte, parts []string) []byte {
	data := append([]byte{}, header...)
	for _, part := range parts {
		data = binary.BigEndian.AppendUint64(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}
