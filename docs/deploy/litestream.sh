#!/bin/sh
# Starts the bridge on a disk that forgets, with Litestream beside it: see litestream.md.
set -eu

database=${DATABASE_URL#sqlite:///}
copy=${TMPDIR:-/tmp}/ownyourtrakt-copy.db

if [ ! -e "$database" ]; then
  litestream restore -if-replica-exists -o "$copy" "$database"
  if [ -e "$copy" ]; then
    # Not put in place as it is: what was posted in its last second may be missing from it, so each
    # website is looked at before anything is posted.
    python -m app restore "$copy"
    rm "$copy"
  fi
fi

exec litestream replicate -exec "python -m app serve"
