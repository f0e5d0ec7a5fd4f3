#!/usr/bin/env bash
# A folder of Debian's armhf packages for guests to find their libraries and programs in (`emu run -L FOLDER`), made with apt and without being root:
#
#     tests/user/sysroot.sh FOLDER [PACKAGE...]
#
# Packages are resolved and fetched with a private apt state in FOLDER.apt, from the Debian sources that this machine has, and unpacked; none of their
# scripts run, so what those would have done and programs need is done here. A second call with the same packages ends at once; downloads are kept in
# FOLDER.apt/archives for the next one otherwise. PACKAGEs are added to those that run.sh needs.
set -euo pipefail
folder=${1:?where to?}
shift
packages="libc6 bash coreutils findutils grep sed gawk diffutils make tar xz-utils perl python3 libsqlite3-0 libssl3 gcc g++ libc6-dev binutils git openssl stress-ng
    $*"
packages=$(echo $packages)
[ "$(cat "$folder/.packages" 2> /dev/null)" = "$packages" ] && exit 0

apt=$(realpath -m "$folder").apt
mkdir -p "$apt"/{lists/partial,archives/partial,sources}
rm -rf "$apt"/sources/* "$folder"
: > "$apt/status"
# Debian's own entries only: others have no armhf, or are not to be relied upon.
for list in /etc/apt/sources.list.d/*.sources; do
    [ -e "$list" ] && grep -q '^Signed-By:.*debian-archive' "$list" && cp "$list" "$apt/sources/"
done
if [ -e /etc/apt/sources.list ]; then
    grep -E '^deb .* (main|non-free)' /etc/apt/sources.list > "$apt/sources/main.list" || rm "$apt/sources/main.list"
fi
[ -n "$(ls "$apt/sources")" ] || {
    echo "no Debian sources in /etc/apt" >&2
    exit 1
}
cat > "$apt/apt.conf" << END
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "armhf";
APT::Architectures { "armhf"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Debug::NoLocking "true";
END
export APT_CONFIG=$apt/apt.conf
get() { apt-get -qq -o APT::Get::Assume-Yes=true "$@" > "$apt/log" 2>&1 || { cat "$apt/log" >&2; return 1; }; }
[ -n "$(find "$apt/lists" -name '*_Packages*' -mtime -1 2> /dev/null)" ] || {
    # An index that is just being renewed is done without, if there are others.
    get update || ls "$apt"/lists/*_Packages* > /dev/null
}
# All names, whether downloaded or not.
get -o Dir::Cache::archives="$apt/lists" --print-uris install $packages
awk '$2 ~ /[.]deb$/ { print $2 }' "$apt/log" > "$apt/wanted"
get --download-only install $packages

# The layout of merged /usr, which packages rely upon.
mkdir -p "$folder"/usr/{bin,sbin,lib} "$folder"/{etc,tmp,var,proc,dev,root}
for link in bin sbin lib; do ln -s usr/$link "$folder/$link"; done
unpacked=0
while read -r package; do
    [ "${package%%_*}" = git-man ] && continue
    dpkg-deb --fsys-tarfile "$apt/archives/$package" | tar -x -C "$folder" --keep-directory-symlink --no-same-owner \
        --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' --exclude './usr/share/info/*' --exclude './dev/*'
    unpacked=$((unpacked + 1))
done < "$apt/wanted"

# What the packages' scripts would have done.
alternative() { [ -e "$folder/usr/bin/$2" ] && { mkdir -p "$folder/etc/alternatives" && ln -sf "/usr/bin/$2" "$folder/etc/alternatives/$1" && ln -sf "/etc/alternatives/$1" "$folder/usr/bin/$1"; } || true; }
alternative awk gawk
alternative cc gcc
alternative c++ g++
alternative sh dash
[ -e "$folder/usr/bin/sh" ] || ln -s bash "$folder/usr/bin/sh"
# Links from the root would lead out of the folder.
find "$folder" -type l -lname '/*' | while read -r link; do
    ln -srfn "$folder$(readlink "$link")" "$link"
done
echo 'root:x:0:0:root:/root:/bin/bash' > "$folder/etc/passwd"
echo 'root:x:0:' > "$folder/etc/group"
echo 'hosts: files' > "$folder/etc/nsswitch.conf"
echo "$packages" > "$folder/.packages"
echo "$folder: $unpacked packages, $(du -sm "$folder" | cut -f1) MiB"
