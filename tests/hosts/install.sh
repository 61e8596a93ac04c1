#!/bin/sh
# Installs the hosts the tests drive, on Debian: Ardour from the distribution,
# pedalboard and dawdreamer into a virtual environment. And what opens an editor
# where there is no screen: Xvfb, Mesa's software renderer.
#   install.sh FOLDER
# Running it again costs a second.
set -eu
folder=${1:?usage: install.sh FOLDER}

wanted=""
command -v ardour7-lua >/dev/null || command -v ardour8-lua >/dev/null || wanted="$wanted ardour"
for library in xvfb libx11-xcb1 libgl1 libegl1 libgl1-mesa-dri libxkbcommon-x11-0; do
	dpkg -s "$library" >/dev/null 2>&1 || wanted="$wanted $library"
done
python3 -c 'import venv, ensurepip' 2>/dev/null || wanted="$wanted python3-venv"
if [ -n "$wanted" ]; then
	command -v apt-get >/dev/null || { echo "install.sh: please install:$wanted" >&2; exit 1; }
	if [ "$(id -u)" = 0 ]; then
		as_root=""
	elif sudo -n true 2>/dev/null; then
		as_root="sudo -n"
	else
		echo "install.sh: needs root for: apt-get install$wanted" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	$as_root apt-get update -qq
	# shellcheck disable=SC2086 # several packages
	$as_root apt-get install -qq -y --no-install-recommends $wanted >/dev/null
fi

if ! "$folder/bin/python" -c 'import dawdreamer, numpy, pedalboard' 2>/dev/null; then
	mkdir -p "$(dirname "$folder")"
	python3 -m venv --clear "$folder"
	"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$(dirname "$0")/requirements.txt"
fi
