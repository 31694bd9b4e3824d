#!/usr/bin/env bash
# Runs a command with a one-node SLURM cluster on loopback, and stops the cluster when the command ends:
#   tests/slurm/cluster.sh COMMAND [ARGUMENT ...]
# Needs munge and slurm-wlm (Debian's names), no rights beyond the user's own, and nothing of a cluster on this machine.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

for program in munged mungekey slurmctld slurmd sbatch srun sinfo; do
  command -v "$program" >/dev/null ||
    { echo "$0: $program is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
done
[ $# -gt 0 ] || { echo "$0: name the command to run" >&2; exit 2; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/slurm.XXXXXX")
chmod 755 "$dir"
mkdir -p "$dir"/{munge,state,spool,log}
chmod 711 "$dir/munge"
node=$(hostname -s)
user=$(id -un)
read -r ctld_port d_port < <(python3 - <<'PY'
import socket

sockets = [socket.socket() for _ in range(2)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
)
# The node is configured with four CPUs on any machine, so that the tests' jobs, which mostly sleep, run side by side.
# A requeued job waits until its old credential has expired: 120 s by default, here as short as it may be.
cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmdPort=$d_port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
OverTimeLimit=0
MinJobAge=300
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=30
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=$node Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=high Nodes=$node Default=NO MaxTime=60 State=UP PriorityTier=2
CONF
# SLURM 22.05 does not know `disabled`, and needs no cgroup for the plugins above; later ones look for one unless configured.
major=$(slurmd -V | sed -E 's/[^0-9]*([0-9]+).*/\1/')
if [ "$major" -ge 23 ]; then echo "CgroupPlugin=disabled" >"$dir/cgroup.conf"; fi
export SLURM_CONF="$dir/slurm.conf"

pids=()
stop() {
  status=$?
  trap - EXIT
  scancel --quiet --user="$user" 2>/dev/null || true
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  if [ "$status" -ne 0 ]; then tail -n 15 "$dir"/log/*.log >&2 || true; fi
  rm -rf "$dir"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

mungekey --create --keyfile="$dir/munge/key"
munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
  --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" 2>"$dir/log/munged.err" &
pids+=($!)
for _ in $(seq 100); do [ -S "$dir/munge/socket" ] && break; sleep 0.1; done
slurmctld -D -c >"$dir/log/slurmctld.out" 2>&1 &
pids+=($!)
slurmd -D -c >"$dir/log/slurmd.out" 2>&1 &
pids+=($!)
state=
for _ in $(seq 150); do
  state=$(sinfo --noheader --partition=low --format=%T 2>/dev/null || true)
  [ "$state" = idle ] && break
  sleep 0.2
done
[ "$state" = idle ] || { echo "$0: the node does not come up: sinfo says '$state'" >&2; exit 1; }

"$@"
