#!/bin/sh
# Makes a data folder with 10,000 users of the domain 127.0.0.1: u0 with password pw0, and so on.
set -eu
data=$1
rm -rf "$data"
mkdir -p "$data"
seq 0 9999 | sed 's/.*/u&,pw&,127.0.0.1/' >"$data/users.csv"
target/release/dialtone user import "$data/users.csv" --data "$data"
rm "$data/users.csv"
