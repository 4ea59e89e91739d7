#!/bin/sh
# For security reviewers: what is in a vault, who put it there, does it verify? No key is needed.
#
#   usage: review.sh LOCATION FINGERPRINT        FINGERPRINT is sha256:…, as the owner tells it
set -eu
vault=$(cd "$1" && pwd)
fingerprint=$2

# A reviewer of no standing: no identity, no memory of earlier visits, nothing of the user's own.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export MVAULT_CONFIG_DIR="$scratch/config" MVAULT_STATE_DIR="$scratch/state" MVAULT_VAULT="$vault"

echo '--- Another fingerprint is refused:'
wrong=sha256:0000000000000000000000000000000000000000000000000000000000000000
if mvault trust "$vault" --root "$wrong"; then
    echo 'It was taken!'
    exit 1
fi

echo '--- The right one is pinned; from here on, nothing that it does not lead to counts.'
mvault trust "$vault" --root "$fingerprint"

echo '--- Every signature, place and stored byte, by public keys alone:'
mvault check -v

echo '--- What there is, and what each environment uses:'
mvault ls

echo '--- Who published and promoted what, as the signed records say it:'
mvault ls | cut -f1 | while read -r model; do
    mvault history "$model"
done

echo '--- What the logs have, refusals and loads too, and whether they are whole:'
mvault audit log
mvault audit verify

echo '--- Who may do what: the policy in force is strict JSON inside its envelope.'
python - "$vault/trust/policy/000001.json" <<'END'
import base64, json, sys

policy = json.loads(base64.b64decode(json.load(open(sys.argv[1]))["payload"]))
for name, member in sorted(policy["principals"].items()):
    print(f"{name}: {member['kind']}, {', '.join(member['roles'])}")
END

echo '--- What a pickle that somebody sent would do; it is not loaded.'
printf '\200\004cos\nsystem\n(S"id"\ntR.' > "$scratch/gift.pkl"
if mvault inspect "$scratch/gift.pkl"; then
    echo 'It was not noticed!'
    exit 1
fi
