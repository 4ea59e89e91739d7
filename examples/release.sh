#!/bin/sh
# For data scientists and release managers: from trained files to production, at the command line.
#
#   usage: release.sh FOLDER        FOLDER is where to work; it must not hold a vault yet
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

echo '--- The service has an identity of its own, made where it runs; only its public half leaves that place.'
mvault identity new web --output web.json --no-passphrase
mvault identity export web.pub --identity web.json

echo '--- The vault is made once. Leave out --no-passphrase and you are asked for one.'
mvault init models/ --no-passphrase --service web=web.pub
# Commands in this folder find the vault from now on: init wrote mvault.toml.

echo '--- Train, look at what came out without loading it, publish it to dev.'
auc=$(python "$here/train.py" exported/)
mvault inspect exported/
mvault push churn exported/ --features exported/features.json --metric "auc=$auc" --note 'First release'
mvault show churn

echo '--- Release: prod uses version 1 from now on. Publishing version 2 does not change that.'
mvault promote churn:1 --env prod
auc=$(python "$here/train.py" exported/)
mvault push churn exported/ --features exported/features.json --metric "auc=$auc" --note 'Second thoughts'
mvault ls

echo '--- Everything in it verifies, and every file decrypts to what was signed.'
mvault check --data
mvault history churn

echo '--- What the service is given beside its identity: whom to trust, and how far the vault has come.'
mvault trust export trust.json
