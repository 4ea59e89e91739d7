#!/bin/sh
# For those who run services: no record, no load. A service keeps its records on a volume that lasts, and an
# auditor reads them back from the vault.
#
#   usage: audited.sh FOLDER        FOLDER is where to work; it must not hold a vault yet
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

echo '--- A policy whose prod demands a record of every load: audit: true.'
cat > policy.yaml <<'END'
roles:
  owner:
    allow:
      - {actions: [publish], env: [dev]}
      - {actions: [load, pull, approve, withdraw, rotate, adopt, delete], env: [dev, prod]}
      - {actions: [promote], from: dev, to: prod}
      - {actions: [audit.read, log]}
  loader:
    allow:
      - {actions: [load], env: [prod]}
  auditor:
    allow:
      - {actions: [audit.read]}
environments:
  dev: {formats: [skops, onnx, json, npz]}
  prod:
    formats: [skops, onnx, json, npz]
    require: {audit: true}
principals:
  owner: {kind: person, roles: [owner]}
  hari: {kind: person, roles: [auditor]}
END
mvault policy check policy.yaml
mvault identity new web --output web.json --no-passphrase
mvault identity export web.pub --identity web.json
mvault identity new hari --output hari.json --no-passphrase
mvault identity export hari.pub --identity hari.json
mvault init models/ --name anna --no-passphrase --policy policy.yaml --service web=web.pub --key hari=hari.pub

echo '--- A model for it.'
python "$here/train.py" exported/
mvault push churn exported/ --features exported/features.json
mvault promote churn:1 --env prod
mvault trust export trust.json

# As in a container: these variables and no others. `records` stands for a volume that outlives the container.
cat > start.sh <<END
exec env -i PATH="$PATH" MVAULT_VAULT="$PWD/models" MVAULT_IDENTITY="$PWD/web.json" \\
    MVAULT_TRUST="$PWD/trust.json" MVAULT_AUDIT="\$1" python "$here/service.py" 0
END

echo '--- Where no record can be kept, it does not start:'
touch no-folder
if sh start.sh "$PWD/no-folder"; then
    echo 'It loaded without a record!'
    exit 1
fi

echo '--- Where one can, it does. What is on the volume moves into the log when it stops.'
mkdir records
sh start.sh "$PWD/records" > service.txt &
process=$!
tries=0
until grep -q Serving service.txt || [ "$tries" -ge 600 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
cat service.txt
kill "$process"
wait "$process"

echo '--- The auditor reads it back, from a folder of their own; it takes no key.'
mkdir auditor
export MVAULT_CONFIG_DIR="$PWD/auditor/config" MVAULT_STATE_DIR="$PWD/auditor/state"
export MVAULT_VAULT="$PWD/models" MVAULT_TRUST="$PWD/trust.json"
mvault audit log --actor web
mvault audit verify
