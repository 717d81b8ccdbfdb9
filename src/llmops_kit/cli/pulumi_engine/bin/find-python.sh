# Sets $python to the Python of the program that the engine runs: the engine starts its plugins in the program's folder.
# Pulumi.yaml's `virtualenv` first, then the active virtual environment, then the Python that installed the engine.
python=
venv=${PULUMI_RUNTIME_VIRTUALENV:-}
folder=$PWD
while [ ! -f "$folder/Pulumi.yaml" ] && [ -n "$folder" ]; do folder=${folder%/*}; done
if [ -z "$venv" ] && [ -f "$folder/Pulumi.yaml" ]; then
    venv=$(sed -n "s/^\(.*[ {,]\)\{0,1\}virtualenv:[ ]*[\"']\{0,1\}\([^\"',}#]*[^\"',}# ]\).*/\2/p" "$folder/Pulumi.yaml" | head -n 1)
fi
case $venv in
    '' | /*) ;;
    *) venv=$folder/$venv ;;
esac
for candidate in "$venv" "${VIRTUAL_ENV:-}"; do
    if [ -n "$candidate" ] && [ -x "$candidate/bin/python" ]; then
        python=$candidate/bin/python
        break
    fi
done
if [ -z "$python" ]; then python=$(cat "$here/python"); fi
if [ ! -x "$python" ]; then
    echo "pulumi-language-python: no Python found: neither virtualenv of $folder/Pulumi.yaml ($venv), nor VIRTUAL_ENV, nor $python exists." >&2
    echo "fix: create and activate the project's virtual environment (in the kit's checkout: make demo)" >&2
    exit 1
fi
