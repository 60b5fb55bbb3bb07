#!/bin/sh
# Writes the checksum of a file, in the algorithm that the variable ALGORITHM names.
set -eu
"${ALGORITHM:-sha256}sum" "$1" > "$OUTPUT_DIR/$1.${ALGORITHM:-sha256}"
cat "$OUTPUT_DIR/$1.${ALGORITHM:-sha256}"
