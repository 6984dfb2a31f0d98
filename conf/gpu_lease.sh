# Lease GPUs of this machine for as long as the sourcing shell lives:
#
#   source gpu_lease.sh 1      any one GPU
#   source gpu_lease.sh all    every GPU of CUDA_VISIBLE_DEVICES (without it: of nvidia-smi)
#
# Sets CUDA_VISIBLE_DEVICES to exactly the leased ones. One lock file per GPU, in a folder that all
# users of the machine share. Whoever waits holds the lock `turn`, so leases start in the order they
# were asked for: a request for all GPUs is not starved by small ones, and two requests never hold
# a part each and wait for the other. Locks go with the process, however it ends.

gpu_lease() {
    local wanted=$1 folder=${VIRNUCPRO_LEASE_DIR:-/dev/shm/virnucpro-gpu-lease}
    local ids=() names=() leased=() i id fd turn

    if [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
        IFS=, read -r -a ids <<< "${CUDA_VISIBLE_DEVICES// /}"
    elif [[ -z ${CUDA_VISIBLE_DEVICES+set} ]] && command -v nvidia-smi > /dev/null; then
        mapfile -t ids < <(nvidia-smi --query-gpu=index --format=csv,noheader 2> /dev/null)
    fi
    [[ $wanted == all ]] && wanted=${#ids[@]}
    if (( ${#ids[@]} == 0 )); then
        echo "Error: a GPU was asked for, but none is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or run without -profile gpu" >&2
        return 2
    fi
    if (( wanted > ${#ids[@]} )); then
        echo "Error: --gpus $wanted, but only ${#ids[@]} visible: ${ids[*]}; ask for fewer GPUs" >&2
        return 2
    fi

    # Another user's lock file cannot be written, but reading is enough to lock it.
    [[ -d $folder ]] || mkdir -m 1777 "$folder" 2> /dev/null || [[ -d $folder ]]
    lock_file() {
        [[ -e $folder/$1 ]] || (umask 0111 && : > "$folder/$1") 2> /dev/null || [[ -e $folder/$1 ]]
        exec {fd}< "$folder/$1"
    }

    lock_file turn
    turn=$fd
    flock "$turn"
    while true; do
        for i in "${!ids[@]}"; do
            (( ${#leased[@]} < wanted )) || break
            [[ -z ${names[i]:-} ]] || continue
            id=${ids[i]}
            [[ $id != GPU-* ]] || id=$(nvidia-smi --id="$id" --query-gpu=index --format=csv,noheader)
            lock_file "gpu-${id//\//_}"
            if flock --nonblock "$fd"; then
                names[i]=${ids[i]}
                leased+=("${ids[i]}")
            else
                exec {fd}<&-
            fi
        done
        (( ${#leased[@]} < wanted )) || break
        sleep 0.5
    done
    exec {turn}<&-

    # In the order given, whatever order they came free in.
    CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${names[*]}" | sed 's/,,*/,/g; s/^,//; s/,$//')
    export CUDA_VISIBLE_DEVICES
    echo "GPU lease: $CUDA_VISIBLE_DEVICES" >&2
}

gpu_lease "$1"
