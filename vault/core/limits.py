"""Every limit in one place. Sizes are bytes unless a name says otherwise.

A limit is checked before the bytes it bounds are read, so that hostile input
costs no more than these numbers.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# Signed documents and their envelopes.
ENVELOPE_BYTES: Final = 16 * MIB
DOCUMENT_BYTES: Final = 11 * MIB
SIGNATURES: Final = 64
JSON_DEPTH: Final = 16
JSON_STRING_CHARS: Final = 16 * MIB  # the payload of the largest envelope is one string
JSON_ITEMS: Final = 200_000
JSON_INT_DIGITS: Final = 16
DATA_JSON_BYTES: Final = 256 * MIB

# Names.
MODEL_CHARS: Final = 200
MODEL_PARTS: Final = 8
PART_CHARS: Final = 64
VERSION_CHARS: Final = 64
PATH_CHARS: Final = 512
PATH_PARTS: Final = 16
STORE_NAME_CHARS: Final = 900

# Packages.
PACKAGE_FILES: Final = 10_000
FILE_BYTES: Final = 1 << 50
METADATA_BYTES: Final = 64 * MIB
PUBLISHERS: Final = 32
LOAD_BYTES: Final = 64 * GIB  # the operator's default for one loaded file; may be set lower

# Numbered records: how far a writer may skip over squatted names, and how many names a reader looks at.
GAP: Final = 1_000
LISTED_NAMES: Final = 1_000_000
BARS: Final = 1_000
NUMBER_MAX: Final = 10**JSON_INT_DIGITS - 1

# Policy.
PRINCIPALS: Final = 10_000
KEYS_PER_PRINCIPAL: Final = 16
OWNERS: Final = 64
ROLES: Final = 256
RULES_PER_ROLE: Final = 256
ENVIRONMENTS: Final = 64
EPOCHS: Final = 4_096
PATTERNS: Final = 10_000
ROOT_KEYS: Final = 64

# age v1.
AGE_CHUNK: Final = 64 * KIB
AGE_TAG: Final = 16
AGE_NONCE: Final = 16
UNIT_CHUNKS: Final = 16
UNIT_PLAIN: Final = UNIT_CHUNKS * AGE_CHUNK
UNIT_CIPHER: Final = UNIT_CHUNKS * (AGE_CHUNK + AGE_TAG)
AGE_HEADER_BYTES: Final = 64 * KIB
AGE_STANZAS: Final = 64
AGE_ARGUMENTS: Final = 16
KEY_CANDIDATES: Final = 64
IDENTITY_FILE_BYTES: Final = 64 * KIB
RECIPIENT_CHARS: Final = 4_096

# Containers and formats looked at before any format's own code runs.
ZIP_ENTRIES: Final = 20_000
ZIP_TOTAL_BYTES: Final = 16 * GIB
ZIP_RATIO: Final = 1_100  # deflate cannot exceed about 1,032:1
PROTOBUF_DEPTH: Final = 64
PROTOBUF_FIELDS: Final = 20_000_000
PICKLE_BYTES: Final = 4 * GIB
PICKLE_OPCODES: Final = 200_000_000
PICKLE_MEMO: Final = 50_000_000
SCHEMA_BYTES: Final = 256 * MIB

# The client's memory.
MEMORY_BYTES: Final = 64 * MIB
MEMORY_ENTRIES: Final = 90_000  # channels and versions together; twice as many JSON items
PINS: Final = 10_000
PINS_BYTES: Final = 8 * MIB
LOCATION_CHARS: Final = 4_096

# Identity files: what an Argon2id file may cost to open, and the least that protects one.
PASSPHRASE_BYTES: Final = 4 * KIB
ARGON2_MEMORY_KIB_MIN: Final = 19 * 1024
ARGON2_MEMORY_KIB_MAX: Final = 2 * 1024 * 1024
ARGON2_ITERATIONS_MIN: Final = 2
ARGON2_ITERATIONS_MAX: Final = 16
ARGON2_LANES_MAX: Final = 16

# Settings.
SETTINGS_BYTES: Final = 64 * KIB
PROJECT_SETTINGS_BYTES: Final = 4 * KIB  # tomllib: time and memory by the square of a dotted key
SETTING_CHARS: Final = 4_096
SETTING_ITEMS: Final = 10_000

# Array files and the skops tree.
NPY_HEADER_BYTES: Final = 64 * KIB
NPY_DIMENSIONS: Final = 32
NPY_DEPTH: Final = 8
SCHEMA_DEPTH: Final = 256
UNPACKED_BYTES: Final = 1 * GIB
PICKLE_NAME_BYTES: Final = 4 * KIB
