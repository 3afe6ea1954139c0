#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every file names its licence at the top, and the texts are here; no source file is longer
# than 800 lines; no link in the documents leads nowhere. $1: the source directory.
cd "$1" || exit 1
failed=0

if [ -e .git ] && command -v git >/dev/null; then
	files=$(git -c safe.directory='*' ls-files --cached)
else
	files=$(find . -type f ! -path './build*' ! -path './.git/*' | sed 's|^\./||')
fi
if [ "$(echo "$files" | wc -l)" -lt 30 ]; then
	echo "tree: hardly any files found"
	exit 1
fi

for file in $files; do
	[ -f "$file" ] || continue # removed, not yet committed
	case $file in
	LICENSES/* | fuzz/corpus/* | *.png | *.json | *.tsv | *.csv | .gitignore) continue ;;
	kernel/*) licence=GPL-2.0-only ;;
	*) licence=LGPL-2.1-or-later ;;
	esac
	# after #!, a man page's '\" t or the like
	if ! head -n 2 "$file" | grep -q "SPDX-License-Identifier: $licence"; then
		echo "tree: $file does not say SPDX-License-Identifier: $licence at its top"
		failed=1
	fi
	case $file in
	*.[ch] | *.sh | *.py)
		lines=$(wc -l <"$file")
		if [ "$lines" -gt 800 ]; then
			echo "tree: $file has $lines lines: is it one noun?"
			failed=1
		fi
		;;
	esac
done
# links between the documents lead somewhere
for file in $(echo "$files" | grep '\.md$'); do
	for link in $(grep -o '](\([^)#:]*\))' "$file" 2>/dev/null | sed 's/^](//; s/)$//'); do
		if [ ! -e "$(dirname "$file")/$link" ]; then
			echo "tree: $file leads to $link, which is not there"
			failed=1
		fi
	done
done
for licence in LGPL-2.1-or-later GPL-2.0-only; do
	if [ ! -s "LICENSES/$licence.txt" ]; then
		echo "tree: LICENSES/$licence.txt is missing"
		failed=1
	fi
done
exit $failed
