# shellcheck shell=sh
# The keeper: reads orders until the lab is gone, then ends what it was told to guard. $1 is the lab's folder.
root=$1
guarded=
projects=
mounts=
trap '' INT TERM HUP QUIT PIPE
while read -r order what; do
    case $order in
    guard) guarded="$guarded $what" ;;
    release)
        rest=
        for id in $guarded; do
            [ "$id" = "$what" ] || rest="$rest $id"
        done
        guarded=$rest
        ;;
    compose) projects="$projects $what" ;;
    mount) mounts="$mounts $what" ;;
    esac
done
for id in $guarded; do
    family=$id
    for stat in /proc/[0-9]*/stat; do
        read -r line <"$stat" || continue
        # After the name in parentheses: state, then the parent's id.
        rest=${line##*) }
        rest=${rest#* }
        if [ "${rest%% *}" = "$id" ]; then
            stat=${stat%/stat}
            family="$family ${stat#/proc/}"
        fi
    done
    # shellcheck disable=SC2086
    kill -KILL $family
done
for mount in $mounts; do
    umount -l "$mount"
done
for project in $projects; do
    docker compose -p "$project" down --volumes --timeout 1
done
if [ -z "${TIDEGATE_LAB_KEEP_FILES:-}" ]; then
    for _ in 1 2 3 4 5; do
        rm -rf "$root" && break
        sleep 0.2
    done
fi
