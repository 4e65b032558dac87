# Sourced by tests in shell: sets PY to a Python that has the modules named by `python_with h5py …`.
# Debian's packages are seen by Debian's Python alone, which need not be the first in the path.
python_with() {
    local modules candidate
    modules=$(IFS=,; echo "$*")
    for candidate in "${PYTHON:-python3}" python3 /usr/bin/python3; do
        PY=$(command -v "$candidate") && "$PY" -c "import $modules" 2>/dev/null && return 0
    done
    PY=
    return 1
}
