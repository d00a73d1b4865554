# Puts the agent on a Linux host, or takes it away. Reads `put|remove SHA256 PATH` and, after it, the program's bytes.
set -eu
umask 077
read -r verb sum path
folder=${path%/*}
case $verb in
put)
  mkdir -p "$folder"
  chmod 755 "$folder"
  cat > "$path.$$"
  [ "$(sha256sum < "$path.$$")" = "$sum  -" ] || { rm -f "$path.$$"; echo "sha256 of the upload differs" >&2; exit 65; }
  chmod 755 "$path.$$"
  mv -f "$path.$$" "$path"
  ;;
remove)
  rm -f "$path"
  rmdir "$folder" "${folder%/*}" 2> /dev/null || :
  ;;
*) exit 64 ;;
esac
