#!/bin/sh
# For operations and for internal audit: what has to run every day, unattended.
#
#   usage: daily.sh heads               as the service that may attest and log (role `freshness` in team.yaml)
#          daily.sh witness [--begin]   as a witness; --begin on its first day only
#
# Both need MVAULT_VAULT, MVAULT_IDENTITY, MVAULT_TRUST, and a MVAULT_STATE_DIR that lasts: what a witness has
# seen is what its word is worth. Run the witness where nobody who writes the logs has access, or can change
# this script. Where prod asks for a witness, run it after each promotion as well: until then nothing new loads.
set -eu

case "${1:-}" in
heads)
    # What the store shows of each environment is current, as of today; root and policy too, when they are due.
    mvault renew
    # How far each service's own log has come goes into prod's log, so that the loss of one is noticed.
    mvault audit anchor --env prod
    ;;
witness)
    shift
    # Ends with status 3 if a log was rewritten or cut off; what the store offered is then kept as evidence.
    mvault audit witness "$@"
    # Is the record whole? Then a signed report, which is one more memory, outside of the storage.
    mvault audit verify
    mkdir -p "$MVAULT_STATE_DIR/reports"
    mvault audit report --since 1d --output "$MVAULT_STATE_DIR/reports"
    ;;
*)
    echo "usage: daily.sh heads | witness [--begin]" >&2
    exit 2
    ;;
esac
