#!/usr/bin/env bash
# All checks that run nothing: cheap ones first, each says what it found.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

failed=0
step() { # title command...
    say "check: $1"
    "${@:2}" || failed=1
}

# The project's files below a directory whose names match a pattern.
files() { # pattern... -- directory
    local names=() pattern
    for pattern in "${@:1:$#-2}"; do names+=(-o -name "$pattern"); done
    find "${@: -1}" \( -path ./build -o -path ./target -o -path ./.git -o -name 'servroot*' \) -prune \
        -o -type f \( "${names[@]:1}" \) -print | sort
}

lengths() {
    local limit=600 file lines bad=0
    while read -r file; do
        lines=$(wc -l <"$file")
        if ((lines > limit)); then
            echo "$file: $lines lines; the limit is $limit, split it" >&2
            bad=1
        fi
    done < <(files '*.rs' '*.sh' '*.pl' '*.pm' '*.py' '*.lua' -- .)
    return $bad
}

scripts() {
    local file bad=0
    while read -r file; do
        bash -n "$file" || bad=1
    done < <(files '*.sh' run -- .)
    while read -r file; do
        # Says "syntax OK" to stderr for each; only the others are news.
        perl -It/lib -c "$file" 2>&1 | grep -v 'syntax OK$' >&2 && bad=1
    done < <(files '*.pm' '*.pl' -- .)
    while read -r file; do
        python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" || bad=1
    done < <(files '*.py' -- .)
    return $bad
}

step 'file lengths' lengths
step 'scripts' scripts
step 'layers' perl tools/layers.pl
((failed == 0)) || die 'some checks failed (see above)'
# rustfmt colours its differences even into a pipe.
colour=never
if [[ -t 1 ]]; then colour=auto; fi
step 'cargo fmt' cargo fmt --check -- --color="$colour"
((failed == 0)) || die 'not formatted as `cargo fmt` does it'
step 'cargo clippy' cargo clippy "$@" --all-targets -- -D warnings
((failed == 0)) || die 'clippy found something (see above)'
