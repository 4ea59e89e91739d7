#!/bin/sh
# Run the image of this folder with exactly three settings, and nothing that it could write to.
#
#   usage: run.sh VAULT IDENTITY TRUST      a folder or URL, and two files (mvault identity new, trust export)
#
# A vault in a folder is mounted read-only at the same path. Records of loads wait in memory and are written to
# the vault's log when the container stops, if its storage may be written to; MVAULT_AUDIT names a volume for
# them. For a URL give what its SDK asks for besides, such as a role of the machine (docs/storage.md).
set -eu
if [ "$#" -ne 3 ]; then
    echo "usage: run.sh VAULT IDENTITY TRUST" >&2
    exit 2
fi
location=$1 identity=$(realpath "$2") trust=$(realpath "$3")
case "$location" in
*://*) set -- ;;
*)
    location=$(realpath "$location")
    set -- --volume "$location:$location:ro"
    ;;
esac
exec ${DOCKER:-docker} run --rm --read-only --user 54321:54321 --cap-drop ALL \
    --security-opt no-new-privileges --publish 127.0.0.1:8000:8000 "$@" \
    --volume "$identity:/run/secrets/identity.json:ro" \
    --volume "$trust:/run/secrets/trust.json:ro" \
    --env MVAULT_VAULT="$location" \
    --env MVAULT_IDENTITY=/run/secrets/identity.json \
    --env MVAULT_TRUST=/run/secrets/trust.json \
    "${IMAGE:-churn-service}"
