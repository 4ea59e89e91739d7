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
PARENTS: Final = 64
LINEAGE: Final = 10_000  # versions in one graph of them
LABELS: Final = 1_000  # of one version; no more are written
LABEL_TAGS: Final = 64  # in one of them
LABEL_BYTES: Final = 128 * KIB
LOAD_BYTES: Final = 64 * GIB  # the operator's default for one loaded file; may be set lower

# Numbered records: how far a writer may skip over squatted names, and how many names a reader looks at.
GAP: Final = 1_000
LISTED_NAMES: Final = 1_000_000
BARS: Final = 1_000
HEADS_DAYS: Final = 90  # for which heads may be valid
DAYS: Final = 36_500
APPROVAL_BYTES: Final = 64 * KIB  # 64 signatures and a small document
APPROVAL_NAMES: Final = 100_000  # looked at to find `PRINCIPALS` that are named after their content
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
KEY_SERVICES: Final = 16  # of one environment

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
KEY_NAMES: Final = 1_024  # looked at to find them, since those named after their content come first
IDENTITY_FILE_BYTES: Final = 64 * KIB
RECIPIENT_CHARS: Final = 4_096

# Keys in a service: what it answers, what it wrapped, how a key is named there, and the token for it.
KEY_SERVICE_BYTES: Final = 64 * KIB
WRAPPED_KEY_BYTES: Final = 16 * KIB
KEY_SERVICE_CHARS: Final = 512
TOKEN_BYTES: Final = 8 * KIB

# Containers and formats looked at before any format's own code runs.
ZIP_ENTRIES: Final = 20_000
ZIP_TOTAL_BYTES: Final = 16 * GIB
ZIP_RATIO: Final = 1_100  # deflate cannot exceed about 1,032:1
PROTOBUF_DEPTH: Final = 64
PROTOBUF_FIELDS: Final = 2_000_000  # 1.3 µs each; runs of small numbers and texts count as few
PROTOBUF_TEXTS: Final = 20_000_000  # about 40 bytes each, in readers that build them
PICKLE_BYTES: Final = 4 * GIB
PICKLE_OPCODES: Final = 10_000_000  # about 80 bytes and 0.3 µs each, twice: a forest has 170 per tree
PICKLE_FINDS: Final = 200_000  # globals looked up; picklers write each once per stream
PICKLE_CALLS: Final = 500_000  # objects that are built: a forest has 9 per tree
PICKLE_WORK: Final = 64 * MIB  # parts that objects are built from, beside eight times the pickle's size
PICKLE_GENERATORS: Final = 10_000  # random generators and their seeds, which take 2.5 KiB and 30 µs each
PICKLE_SETS: Final = 1_000_000
PICKLE_WEAK_KEYS: Final = 10_000  # keys whose hashes a stranger can make equal, which costs their square
ONNX_INLINED: Final = 10_000  # nodes that the functions of a model become: 0.3 ms each
SCHEMA_BYTES: Final = 128 * MIB

# The client's memory.
MEMORY_BYTES: Final = 64 * MIB
PROBE_BYTES: Final = 4 * KIB
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
SCHEMA_PARTS: Final = 1_000_000  # objects and lists: a forest has 60 per tree
SCHEMA_COMPARISONS: Final = 5_000_000  # about 0.5 µs each
UNPACKED_BYTES: Final = 1 * GIB
PICKLE_NAME_BYTES: Final = 4 * KIB

# Inspection: what one file may cost, with everything that is packed inside it.
INSPECT_LAYERS: Final = 4  # archives and compressed streams inside each other
INSPECT_OPCODES: Final = 8_000_000  # run by the machine of the gate
INSPECT_SURVEY_OPCODES: Final = 500_000  # looked at in pickles that the machine refused
INSPECT_HELD_BYTES: Final = 512 * MIB  # one thing unpacked, in memory
INSPECT_UNPACKED_BYTES: Final = 1 * GIB  # all of them together, beside twice the file's own size
INSPECT_MEMBERS: Final = 20_000
INSPECT_FINDINGS: Final = 1_000
INSPECT_READ_BYTES: Final = 256 * MIB  # larger files are mapped, not read
INSPECT_JSON_BYTES: Final = 16 * MIB
INSPECT_FILES: Final = 200_000
INSPECT_FOLDERS: Final = 64  # folders inside each other
TAR_ENTRIES: Final = 20_000
TAR_EXTENSION_BYTES: Final = 64 * KIB  # a long name, or the records of a pax header

# Models that lie elsewhere and are taken over: their paths, what is listed, and what describes them.
ADOPT_PATH_CHARS: Final = 1_024  # the longest key of S3
ADOPT_STARS: Final = 4  # in a pattern of paths
ADOPT_ENTRIES: Final = 200_000  # files below a folder, or objects below a prefix
ADOPT_PACKAGE_FILES: Final = 1_000  # of one version
ADOPT_FILE_BYTES: Final = 16 * GIB
ADOPT_JOURNAL_BYTES: Final = 256 * MIB
MLMODEL_BYTES: Final = 1 * MIB
MLFLOW_VERSIONS: Final = 100_000  # of all registered models

# Gradient-boosting files: what LightGBM's and XGBoost's own readers are given.
TREE_DEPTH: Final = 1_024  # both walk some paths of a tree by recursion
BOOSTER_FEATURES: Final = 1 << 20  # each thread that predicts holds so many numbers for 64 rows
BOOSTER_TREES: Final = 1_000_000
BOOSTER_PARAMETERS: Final = 1_000
TREE_LEAVES: Final = 131_072  # LightGBM's own
TREE_NUMBERS: Final = 4_000_000  # in the category sets, or the linear leaves, of one tree
BOOSTER_NUMBER_CHARS: Final = 40
CATEGORY_BITS_BYTES: Final = 256 * MIB  # a bit for each category up to the largest, in each such node
UBJSON_ITEMS: Final = 2_000_000  # values beside the numbers of typed arrays; a tree has 30
UBJSON_DEPTH: Final = 16

# Audit records, and what waits on this machine until it is in a log.
AUDIT_RECORD_BYTES: Final = 16 * KIB
AUDIT_SUBJECT_CHARS: Final = 512
AUDIT_HOST_CHARS: Final = 255
AUDIT_BATCH_ENTRIES: Final = 4_096  # taken at once; also what one call may append
AUDIT_BATCH_BYTES: Final = 1 * MIB
AUDIT_INTAKE_BYTES: Final = 256 * MIB  # about 350,000 records
AUDIT_HELD_BYTES: Final = 16 * MIB  # in memory, where nothing may be written

# The audit log.
LOG_ENTRY_BYTES: Final = AUDIT_RECORD_BYTES
LOG_COMMIT_ENTRIES: Final = 4_096
LOG_ENTRIES_BYTES: Final = 1 * MIB  # of one commit, with the lengths before them
LOG_CERTIFICATE_BYTES: Final = 16 * KIB
LOG_CHECKPOINT_BYTES: Final = 4 * KIB
LOG_EDGE_HASHES: Final = 54  # bits of `NUMBER_MAX`
LOG_COMMIT_BYTES: Final = (
    KIB + LOG_CERTIFICATE_BYTES + LOG_CHECKPOINT_BYTES + 32 * LOG_EDGE_HASHES + LOG_ENTRIES_BYTES
)
LOG_REREAD: Final = 4_096  # commits that a writer reads again to know every number that was logged
LOG_HISTORY: Final = 65_536  # heads in force that a reader keeps, to tell a fork from a copy
LOG_COSIGNATURES: Final = 1_024  # looked at for one checkpoint
NOTE_BYTES: Final = 1 * MIB
NOTE_SIGNATURES: Final = 100
PROOF_BYTES: Final = 2 * MIB

# Signatures beside files (OMS bundles), and whom to trust for them.
OMS_BUNDLE_BYTES: Final = 16 * MIB
OMS_RESOURCES: Final = 50_000
OMS_JSON_ITEMS: Final = 8 * OMS_RESOURCES  # seven for each file
OMS_IGNORED: Final = 1_000
OMS_NAME_CHARS: Final = 255
OMS_PATH_CHARS: Final = 4_096
OMS_FOLDERS: Final = 64  # inside each other
OMS_CERTIFICATES: Final = 8
OMS_CERTIFICATE_BYTES: Final = 16 * KIB
OMS_KEY_ID_CHARS: Final = 256
OMS_SIGNATURE_BYTES: Final = 256
OMS_TRUSTED_KEYS: Final = 1_000
OMS_TRUSTED_BYTES: Final = 1 * MIB
OMS_PATTERNS: Final = 100
OMS_TRIALS: Final = 10_000  # of a signature with a key; ECDSA over P-521 takes 0.6 ms
OMS_CACHE_BYTES: Final = 32 * MIB

# Backups: receipts, the lists of versions beside them, and reports of drills.
BACKUP_LIST_BYTES: Final = 64 * MIB  # about 600,000 versions
BACKUP_RECEIPT_BYTES: Final = 64 * KIB  # 64 signatures and a small document
BACKUP_NAMES: Final = 1_000  # of backups, which are looked at for receipts

# The registry index, and what is asked of it.
SEARCH_CHARS: Final = 2_000
SEARCH_DEPTH: Final = 32
SEARCH_CONDITIONS: Final = 64
SEARCH_VALUE_CHARS: Final = 200
SEARCH_WORDS: Final = 16  # of one phrase
SEARCH_RESULTS: Final = 1_000
INDEX_TEXT_CHARS: Final = 200  # of a name, a value or a tag in the index: longer ones are not in it
INDEX_NAMES: Final = 4_096  # metrics, parameters, features or libraries of one version in the index
INDEX_WORDS: Final = 512  # different words of one half of a version
INDEX_WORD_CHARS: Final = 40
INDEX_NOTE_CHARS: Final = 4_000
COMPARED: Final = 16  # versions beside each other

# Lock files, and the choice between slots.
LOCK_BYTES: Final = 64 * MIB
LOCKED: Final = 100_000  # channels of one lock file
CHOICES: Final = 64  # slots
CHOICE_KEY_BYTES: Final = 4 * KIB
CHOICE_KEY_DIGITS: Final = 100

# Retention: removals and holds.
REASON_CHARS: Final = 500  # why something is held or removed
REMOVAL_BYTES: Final = 64 * KIB  # 64 signatures and a small document; of a hold too
RETENTION_RULES: Final = 1_000  # patterns in one file of rules
RETENTION_TAGS: Final = 100  # lists of tags in one rule
LEFTOVER_NAMES: Final = 10_000  # in one notice

# Load tests: requirements, what a tester signs of a test, and what its confined process may answer.
REQUIREMENTS: Final = 1_000  # distributions
REQUIREMENT_HASHES: Final = 500  # archives of one version of a distribution: one a platform
REQUIREMENTS_BYTES: Final = 4 * MIB
ATTESTATION_BYTES: Final = 256 * KIB
LOAD_TEST_ANSWER_BYTES: Final = 1 * GIB
INSTALLER_BYTES: Final = 64 * MIB  # of a resolver's report

# Many models at once: tables of what to push, and lists of references.
TABLE_BYTES: Final = 64 * MIB
TABLE_ROWS: Final = 100_000
TABLE_COLUMNS: Final = 1_000
TABLE_LINE_CHARS: Final = 1 * MIB
TABLE_CELL_CHARS: Final = 64 * KIB
BULK_ITEMS: Final = 100_000
JOURNAL_BYTES: Final = 256 * MIB
