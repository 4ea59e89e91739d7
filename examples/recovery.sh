#!/bin/sh
# Backups and recovery drills by a schedule: cron, a systemd timer, or CI (recovery-drill.yml).
#
#   recovery.sh backup    every night: copy what is new, verify it there
#   recovery.sh verify    every week: read a part of the backup again
#   recovery.sh drill     every month: bring all of it back on a machine that has nothing else
#
# As lines of a crontab:
#   17 2 * * *    BACKUP=s3://copies/models /opt/mvault/recovery.sh backup
#   17 5 * * 0    BACKUP=s3://copies/models /opt/mvault/recovery.sh verify
#   17 6 1 * *    BACKUP=s3://copies/models RECOVERY=/media/stick/recovery.txt /opt/mvault/recovery.sh drill
#
# `backup` and `verify` need MVAULT_VAULT and no key; with an identity that may archive, they sign receipts. `drill` needs
# no vault: the backup, the recovery identity (RECOVERY), room for a copy (INTO), and an identity if its report is to be
# signed. Each ends with another status than 0 when anything does not hold, so that whoever schedules it can tell.
set -eu

: "${BACKUP:?is the place of the backup}"

case "${1-}" in
backup)
    mvault backup "$BACKUP" --limit "${LIMIT:-50MiB/s}"
    ;;
verify)
    mvault backup verify "$BACKUP" --sample "${SAMPLE:-5%}"
    ;;
drill)
    : "${RECOVERY:?is the file of the recovery identity}"
    reports=${REPORTS:-.}
    mvault restore --drill "$BACKUP" --recovery "$RECOVERY" --sample "${SAMPLE:-5%}" \
        --into "${INTO:-/tmp}" --report "$reports/drill-$(date -u +%Y%m%dT%H%M%SZ).json"
    ;;
*)
    echo "usage: recovery.sh backup | verify | drill" >&2
    exit 2
    ;;
esac
