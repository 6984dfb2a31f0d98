# Lease GPUs of this machine for as long as the sourcing shell lives:
#
#   source gpu_lease.sh 1      any one GPU
#   source gpu_lease.sh all    every GPU of CUDA_VISIBLE_DEVICES (without it: of nvidia-smi)
#
# Sets CUDA_VISIBLE_DEVICES to exactly the leased ones. Returns 2 for what waiting cannot mend, 75 when
# VIRNUCPRO_LEASE_LIMIT seconds (a day) were not enough. All users of the machine share a folder, /dev/shm or
# VIRNUCPRO_LEASE_DIR, with files that stay locked until their process ends, however it does:
#
#   virnucpro-gpu-turn         by the one that chooses next: leases start in the order they were asked for, and a
#                              request for all GPUs is not starved by small ones
#   virnucpro-gpu-3.hG5dKw2x   by the one that has GPU 3; its text says who. Every lease makes a file of its own,
#                              so that it outlasts whatever becomes of other users' files
#
# Other users are not trusted: of theirs only plain files are opened, and only to read. Ours are made with names
# that cannot be foreseen, and get others by rename or hard link, which follow nothing.

lease_error() { echo "Error: $2" >&2; return "$1"; }

# Sets `ids`, and `cards`: what they are called here, the same however a GPU is asked for.
lease_find_gpus() {
    local id card smi known=''
    smi=$(command -v nvidia-smi)
    [[ -z $smi || ${CUDA_VISIBLE_DEVICES-GPU-} != *GPU-* ]] ||
        known=$(nvidia-smi --query-gpu=index,uuid --format=csv,noheader 2> /dev/null)
    mapfile -t ids < <(awk -F ', ' '$1 ~ /^[0-9]+$/ { print $1 }' <<< "$known") # when it fails, it prints other things
    [[ -z ${CUDA_VISIBLE_DEVICES+set} ]] || read -r -a ids <<< "${CUDA_VISIBLE_DEVICES//,/ }"
    (( ${#ids[@]} )) || lease_error 2 "a GPU was asked for, but none is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or run without -profile gpu" || return
    for id in "${ids[@]}"; do
        card=$id
        if [[ $id == GPU-* && -n $smi ]]; then # the first letters of a UUID are enough, as for CUDA
            card=$(awk -F ', ' -v id="$id" 'index($2, id) == 1 { print $1 }' <<< "$known")
            [[ $card =~ ^[0-9]+$ ]] || lease_error 2 "CUDA_VISIBLE_DEVICES names $id, and nvidia-smi knows no one GPU by that; see nvidia-smi -L" || return
        fi
        card=${card//[^[:alnum:]-]/_}
        [[ " ${cards[*]} " != *" $card "* ]] || lease_error 2 "CUDA_VISIBLE_DEVICES names one GPU twice: ${ids[*]}" || return
        cards+=("$card")
    done
    [[ $wanted != all ]] || wanted=${#ids[@]}
    [[ $wanted =~ ^[1-9][0-9]{0,4}$ ]] || lease_error 2 "--gpus $wanted is neither all nor a number" || return
    (( wanted <= ${#ids[@]} )) || lease_error 2 "--gpus $wanted, but only ${#ids[@]} visible: ${ids[*]}; ask for fewer GPUs"
}

# To open a FIFO would hang. A file that has just gone is none to complain about.
lease_check_file() {
    [[ -f $1 && ! -L $1 && -r $1 ]] || [[ ! -e $1 && ! -L $1 ]] ||
        lease_error 2 "$folder/${1##*/} is no lock file but a $(stat -c '%F, mode %a, owner: %U (%u)' "$1"); no GPU can be leased before it is removed"
}

# Checks the folder that is open as `here`, whatever its name leads to later, and sees to the turn's file in it.
lease_prepare() {
    local new wrong=''
    [[ -k $here ]] || (( ! (8#$(stat -Lc %a "$here") & 8#022) )) || wrong='lets others replace your files (no sticky bit)'
    [[ -O $here || $(stat -Lc %u "$here") == 0 ]] || wrong="is neither root's nor yours"
    [[ ! -L $folder && $folder -ef $here ]] || wrong='is a link'
    [[ -z $wrong ]] || lease_error 2 "the GPU lease folder $folder $wrong, owner: $(stat -c '%U (%u)' "$folder"); set VIRNUCPRO_LEASE_DIR to a folder of root's or your own, with mode 1777 to share it" || return
    if [[ ! -e $turn && ! -L $turn ]]; then # ln fails where another process is faster
        new=$(mktemp "$here/virnucpro-gpu-new.XXXXXXXX") && chmod 0644 "$new" && ln -T "$new" "$turn" 2> /dev/null
        rm -f "$new"
    fi
    lease_check_file "$turn"
}

# Whether someone has $1, a GPU or the turn: then `claim` is the file that says who. 2: that cannot be told.
lease_taken() {
    for claim in "$here/virnucpro-gpu-$1".*; do
        [[ ${claim##*.} =~ ^[[:alnum:]]{8}$ ]] || continue
        lease_check_file "$claim" || return
        if flock --shared --nonblock 0 2> /dev/null < "$claim"; then
            [[ ! -O $claim ]] || rm -f "$claim" # of a process of ours that has ended
        elif [[ -e $claim ]]; then
            return 0
        fi
    done
    return 1
}

# Waits a little and says once a minute who has what. Unlike `sleep`, `wait` ends with a signal that the shell traps.
lease_pause() {
    local name claim line
    if (( SECONDS >= report )); then
        report=$((SECONDS + 60))
        line="GPU lease: waiting for $wanted of ${ids[*]}, at most $limit s (VIRNUCPRO_LEASE_LIMIT)"
        for name in "$@"; do
            lease_taken "$name" && line+="; $name is held by $(stat -c '%U (%u)' "$claim"), $(head -c 200 "$claim" | LC_ALL=C tr -cd '[:print:]')"
        done 2> /dev/null
        echo "$line" >&2
    fi
    (( SECONDS < deadline )) || lease_error 75 "no GPU lease within $limit s (VIRNUCPRO_LEASE_LIMIT)" || return
    sleep 0.5 &
    wait -n || return "$(( $? > 128 ? $? : 0 ))"
}

# Waits for the turn, open as 9, then for GPUs. `mine`, locked as `held`, claims the turn first, then the GPUs.
lease_take() {
    local i claim waiter status free report=$((SECONDS + 1)) # a moment is not worth a line
    if ! flock --nonblock 9; then
        flock --timeout "$((limit + 1))" 9 > /dev/null 2>&1 & # keeps its place in line while this shell reports
        waiter=$!
        while kill -0 "$waiter" 2> /dev/null; do
            lease_pause turn "${cards[@]}" || { status=$?; kill "$waiter"; return "$status"; }
        done
    fi
    flock --nonblock 9 && mine=$(mktemp "$here/virnucpro-gpu-new.XXXXXXXX") && exec {held}< "$mine" && flock "$held" || return 1
    echo "process $$ since $(date '+%F %T'), ${PWD#"${PWD%/*/*}"/}" > "$mine" && chmod 0644 "$mine" || return 1
    claim=$here/virnucpro-gpu-turn.${mine##*.}
    mv -T "$mine" "$claim" && mine=$claim || return 1
    report=0
    while true; do
        free=()
        for i in "${!ids[@]}"; do
            lease_taken "${cards[i]}"
            case $? in 1) free+=("$i") ;; 2) return 2 ;; esac
        done
        (( ${#free[@]} < wanted )) || break
        lease_pause "${cards[@]}" || return
    done
    for i in "${free[@]:0:wanted}"; do
        ln -T "$mine" "$here/virnucpro-gpu-${cards[i]}.${mine##*.}" || return
        leased+=("${ids[i]}")
    done
    [[ $turn -ef /proc/self/fd/9 ]] || lease_error 75 "$folder/${turn##*/} was removed during the wait for a GPU; ask again"
}

gpu_lease() {
    local - IFS=$' \t\n' wanted=$1 folder=${VIRNUCPRO_LEASE_DIR:-/dev/shm} limit=${VIRNUCPRO_LEASE_LIMIT:-86400}
    local here=/proc/self/fd/8 turn=/proc/self/fd/8/virnucpro-gpu-turn mine='' held=''
    local ids=() cards=() leased=() deadline status=0
    set +efC # whatever the caller's options are
    lease_find_gpus || return
    [[ $limit =~ ^[1-9][0-9]{0,8}$ ]] || lease_error 2 "VIRNUCPRO_LEASE_LIMIT is $limit, not a number of seconds" || return
    deadline=$((SECONDS + limit))
    [[ -e $folder || -L $folder ]] || mkdir -m 1777 "$folder" 2> /dev/null
    [[ $folder == /* && -d $folder && -r $folder ]] || lease_error 2 "the GPU lease folder $folder is no full path of a folder that can be made and read; set VIRNUCPRO_LEASE_DIR" || return
    {
        lease_prepare && lease_take 9< "$turn" || status=$?
        rm -f "$mine"
    } 8< "$folder/." || status=1
    [[ $status == 0 || -z $held ]] || exec {held}<&-
    (( status != 1 )) || lease_error 2 "cannot make and lock files in the GPU lease folder $folder" || return
    (( status == 0 )) || return "$status"
    CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${leased[*]}")
    export CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER=PCI_BUS_ID # nvidia-smi counts GPUs like that, CUDA by itself does not
    echo "GPU lease: $CUDA_VISIBLE_DEVICES" >&2
}

gpu_lease "$1" || return
