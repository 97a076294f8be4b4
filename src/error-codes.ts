/**
 * Every code of a CoveyError with the paragraph that `covey explain CODE` prints. Codes are never renamed: scripts match
 * on them. Adding an error means adding its line here, in the alphabetical place of its group.
 */
export const errorCodes = {
  // General
  bug: 'Something that must never happen has happened: a defect of covey. The daemon ends (a manager) or the task fails (an agent) rather than going on with a state that nobody understands. Please report it with the log around it.',
  internal: 'A part of the system failed in a way that covey has no better name for; the message is that of the part.',
  cancelled: 'The caller gave up, or the daemon is shutting down. Nothing was lost; ask again.',
  timeout:
    'Something did not happen within its time. The message says what was waited for; what was asked goes on unless it says otherwise.',
  'bad-argument':
    'A value in a command, an option or a request is not one that makes sense there. The message names the value and what would be valid.',
  'unknown-command': 'There is no such command or option. covey help lists them.',
  'unknown-value':
    'A message carries a kind or value that this version does not know: the other side is newer. Update this one.',
  'not-found':
    'There is no object of that name or id. Names are exact; an id may be shortened as long as it stays unique.',
  ambiguous: 'The beginning of an id fits more than one object. Give more characters.',
  'already-exists': 'There is an object of that name already.',
  'stale-version': 'The object was changed by somebody else since it was read. Read it again and repeat the change.',
  'no-revision':
    'The service has no such earlier spec. The present one and the last ten are kept; `covey service history NAME` lists them.',
  'no-update': 'The service has no update that could be paused or resumed. The message says how the last one ended.',
  'update-paused':
    'An update has stopped before its end: too many of its new tasks failed, nothing went on for its deadline, or a person paused it. What was replaced stays, the other tasks run on. `covey service update --resume NAME` goes on, `covey service rollback NAME` goes back.',
  'update-incomplete':
    'An update went to its end although tasks failed, as its failure action or its ratio allows; those still do not run as asked. The message counts them.',
  'update-rolled-back':
    'Too many new tasks of an update failed, and its failure action took the service back to its earlier spec. The message names the failure.',
  'not-moved':
    "Tasks that `covey rebalance` was to move stay where they are: their successors failed, found no place on the other node within the deadline of the service's updates (--update-deadline, 10 min by default), or the service is being updated. Nothing was stopped; `covey service ps` shows the reason of each.",
  'no-permission':
    'The kernel refused for want of rights. coveyd has to run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN.',
  'no-space': 'The file system is full (bytes or inodes). Nothing was lost; running tasks go on. Make room and repeat.',
  'too-large': 'The request is larger than its limit. The message names both.',
  'too-many': 'A limit on a number of things is reached. The message names it.',
  'stale-read': 'The answer would be older than what was asked for, because no leader is known right now.',
  // Daemon
  'no-daemon':
    'No coveyd answers on the socket. Is it running (systemctl status covey), is the socket the right one (--socket, COVEY_SOCKET), and are you root or in the group covey?',
  'no-socket-rights': 'The socket may be used by root and by members of the group covey only.',
  'daemon-running':
    'Another coveyd holds the lock on the data directory. Two daemons on one directory would destroy it.',
  'bad-config':
    'The configuration file or an environment variable has an unknown key or a bad value. The message names file, line and column.',
  'port-in-use': 'Another program listens on that port of this machine. ss -lntup shows which.',
  'state-damaged':
    'A state file on disk does not hold what was written: bad checksum or cut short in the middle. covey does not guess; the message names file and offset.',
  'already-in-cluster': 'This daemon is a node of a cluster already. covey leave ends that.',
  'not-in-cluster': 'This daemon is not a node of any cluster yet. covey init makes one, covey join enters one.',
  'not-manager': 'This node is a worker; only managers can answer that. Run the command on a manager.',
  'managers-unreachable':
    'No manager answers this node, at the addresses that doctor names. What runs here runs on, is started again by its own policy, and keeps names and routes as they were told last. It mends itself when one of the addresses answers again; if all managers have moved, join anew.',
  'certificate-due':
    'The certificate of this node has not been renewed in time, or has ended. A node renews it by itself after half of its life, as soon as a manager answers; until then what runs here runs on.',
  'no-leader':
    'No manager leads at the moment, so nothing can be changed. Running tasks go on, and lists without --consistent show what this manager knew last, with its age. It mends itself when a majority of the managers can talk to each other.',
  'not-leader': 'That manager does not lead. The message names the leader.',
  'unknown-outcome':
    'The leadership changed while the change was on its way: it may or may not have been made. Look before you repeat it.',
  'newer-schema':
    'The log holds an entry written by a newer version of covey. This version stops applying rather than skipping it. Update this node.',
  'last-manager':
    'This is the only manager; if it leaves, the cluster and everything in it is gone. --force says that this is meant.',
  // Raft log
  'log-damaged':
    'The Raft log or a snapshot of this manager does not hold what was written: a flipped bit, a missing segment. The message names file and offset. covey does not guess: with other managers alive, remove this node, move its data directory away and join again; for the last manager, coveyd --repair-log look says what is lost.',
  'log-failed':
    'A write to the Raft log failed. A failed write is never tried again, because nobody knows then what is on the disk: the manager stops voting and leading until it is started anew.',
  'change-pending': 'The managers are changing their group already. Ask again in a moment.',
  'would-lose-quorum':
    'Without that manager those that remain and answer would be no majority, and nothing could be changed any more. Bring a lost manager back, remove it for good, or make another node a manager first.',
  'wrong-member':
    'A manager spoke to, or for, a member of the Raft group that lives elsewhere. It happens for a moment while a machine changes its part in the cluster; if it stays, two machines use a copy of one data directory.',
  'group-superseded':
    'The managers of this node’s group were made a new group without it (covey cluster recover or restore, after a majority was lost). It becomes a worker as soon as it reaches one of the new managers; its containers run on. covey node promote makes it a manager again.',
  'quorum-alive':
    'A majority of the managers answers, so the group can be changed in the ordinary way: covey node demote and covey node rm take single managers out. covey cluster recover is for the loss of a majority.',
  'backup-damaged':
    'The file is no backup of a cluster, or not all of what was written: cut short, changed, or of another kind. The message says where. Nothing was changed by it.',
  'backup-key-wrong':
    'The backup is encrypted, and no key was given or not the one that it was written with. Give the same passphrase or --key-file; without it nobody can read it.',
  'log-foreign':
    'The Raft log in the data directory was written by another member or another cluster. Nothing was changed.',
  'log-key-wrong':
    'The Raft log is encrypted with a key that this manager does not have: keys.json of the data directory is missing or is that of another time. Log and keys belong together.',
  locked:
    'This manager waits for the unlock key of its cluster (autolock): its log, and the key by which it proves who it is, are encrypted on disk. `covey unlock` asks for it, and reads it from standard input in a script. Containers run on and are started again by their own policy; tasks of this node may be replaced elsewhere meanwhile, as it can take part in nothing. `covey unlock-key` on another manager shows the key; if it is lost for good, `covey leave --force` here gives up what is on this disk, and the machine may join again.',
  'unlock-key-wrong':
    'That is not the key that this manager was locked with; nothing was changed, and as many tries as you like are free: the key has 256 random bits. The message names the id and the age of the right one. A manager that was away when the key was rotated still opens with the one before: `covey unlock-key` on another manager shows it.',
  'not-autolocked':
    'The cluster has no unlock key: autolock is off, and managers start without asking. `covey cluster update --autolock=true` turns it on.',
  'log-forged':
    'A record of the Raft log has the right checksum and a wrong seal: a disk does not do that. Somebody changed it, or moved it there from another place or another manager. covey reads nothing of it; with other managers alive, remove this node, move its data directory away and join again.',
  'snapshot-missing':
    'The Raft log says that its beginning lies in a snapshot, and that file is missing or damaged. With other managers alive, remove this node, move its data directory away and join again.',
  // Joining and identity
  'bad-token':
    'The token is not one of this cluster, was mistyped, or has been removed. covey token worker on a manager makes a new one.',
  'token-expired': 'The token was valid once, but its time is over. covey token worker makes a new one.',
  'token-used-up': 'The token has been used as often as it may be. covey token worker makes a new one.',
  'wrong-ca':
    'The machine at that address does not hold the root certificate that the token names. Either the address belongs to another cluster, or somebody sits in between.',
  'not-covey': 'What answers at that address does not speak TLS 1.3 as a covey manager does.',
  'no-certificate':
    'The call needs the certificate of a node of this cluster and came without one, or with one of another cluster.',
  'certificate-expired':
    'The certificate of this node ended longer ago than the cluster’s grace (90 days unless it says otherwise), so that proof of its key alone does not bring it back. `covey token node NAME` on a manager makes a token with which `covey join` on the machine does; it keeps its id, labels and tasks.',
  'token-other-node':
    'A token made by `covey token node` brings back the one node that it names, and this machine is another one.',
  'node-alive':
    'The token would make this machine the node that it names, and a machine is connected as that node. One node is one machine.',
  'manager-state-lost':
    'A manager that comes back needs its part of the managers’ log, which is not on this machine: with the id of the old one and an empty log it could vote twice. Demote or remove the node on another manager first.',
  'bad-root':
    'A root certificate that was given to `covey cluster ca rotate` cannot serve: it has to have signed itself, be one of an authority, be valid now, and come with its own key, ECDSA on P-256, without a password. The message says what is wrong.',
  'root-replaced':
    'The token names a root certificate that this cluster has replaced since (covey cluster ca rotate). covey token worker on a manager makes a token with the present one.',
  'clock-not-set':
    'The clock of this machine shows a time at which it cannot be: before this program was made, before its own certificate, or long before what it showed last. A dead battery does that. Nothing is judged by it, nothing expires and nothing is deleted until it is set.',
  'role-refused': 'The certificate is that of a node whose role may not make this call.',
  'name-in-use':
    'A node of that name is in the cluster. Names are unique; give another with --name, or remove the old node.',
  'node-removed':
    'This node was removed from the cluster. Its identity is not valid any more; covey leave --force and then covey join make it a new node.',
  'node-not-lost':
    'The node is alive. Removing it would end its tasks; drain it and run covey leave there, or use --force.',
  'no-connection':
    'The address does not answer: wrong host or port, nothing listens, or a firewall in between. Cluster traffic is TCP 7377.',
  unresolvable: 'The host name has no address: it is misspelt, or this machine’s resolver does not know it.',
  'older-managers':
    'The change uses something that came with a newer covey, and some managers run an older one, which would have to stop at it. Update those; until then everything that both know works.',
  'no-common-protocol': 'The two sides speak no common version of the protocol. Update the older one.',
  'session-replaced':
    'Another session with the identity of this node was opened: a copied disk, or a restart that was faster than the old connection.',
  // Objects
  'service-in-use': 'The service cannot be removed or changed while something depends on it.',
  'network-in-use': 'Services are attached to the network. Remove or change them first.',
  'network-not-found': 'There is no network of that name. covey network ls lists them.',
  'subnet-conflict': 'The subnet overlaps with another network, or with a route of a node.',
  'network-mended':
    'Rules, routes or links of the overlay on this node were changed or deleted by something else, and the daemon made them as they have to be within a second or two. Packets were lost in between. Its log, and covey node inspect, say what it was.',
  'network-nearly-full':
    'Four fifths of the addresses of the network are in use. When none is left, tasks and services wait. covey network update --subnet-add gives it more.',
  'subnet-exhausted':
    'Every address of the subnet is in use or waiting to be free again. Use a larger subnet, or fewer tasks.',
  'port-conflict': 'A service publishes that port already. A port has one owner in the cluster.',
  'ports-exhausted': 'No dynamic port from 30000 to 32767 is free.',
  'secret-not-found': 'There is no secret of that name.',
  'config-not-found': 'There is no config of that name.',
  'plan-changed': 'The cluster is not any more as the plan saw it. Plan again.',
  'illegal-transition':
    'A task may not go from its present state to the asked one. States only rise; the later one wins.',
  'task-not-running': 'The task has no running container. covey service ps shows its state and why.',
  'task-ended': 'The task has ended, and what it had was given back. covey service ps shows what runs in its place.',
  'task-stopping': 'The task was told to end and is about to. covey service ps shows what takes its place.',
  'task-paused': 'All processes of the task stand still. covey task unpause lets them go on.',
  'task-not-paused': 'The task is not paused: there is nothing to unpause.',
  'pause-failed':
    'The kernel did not bring all processes of the task to a halt, most often because one of them waits for a device that does not answer. They were let go again.',
  'exit-code-unknown':
    'Nobody saw how the task ended: its node was lost or removed, or no container of it was ever started.',
  'bad-archive':
    'The tar archive is damaged, cut short, or hostile: a name that leads out of the directory or through a link, a device. What came before it was written.',
  'copy-failed':
    'The files could not be copied. The message says at which one and why; what came before it was written.',
  'log-lost':
    'Lines of the log were rotated away before this reader had read them: it is slower than the program writes. Give the service more or larger log files.',
  'command-stale':
    'The command came from a manager that does not lead any more, over a connection from before. Nothing was done; ask again.',
  'node-unreachable': 'The node of the task is not connected to the managers right now.',
  // Stack files
  'stack-syntax': 'The file is not valid YAML. The message has line and column.',
  'stack-unknown-key': 'The key is not one that a stack file has at that place. Keys that begin with x- are free.',
  'stack-not-honoured': 'covey does not do what that key asks for, and does not ignore it silently either. Remove it.',
  'stack-type': 'The value at that path has the wrong type or form. The message says what is valid.',
  'stack-variable': 'The file uses a variable that is not set and that has no default.',
  'stack-reference': 'A service names a network, volume, secret or config that the file does not define.',
  'stack-file': 'A file that the stack file names cannot be read.',
  // Images
  'image-not-found':
    'The image is not on this node, and no registry has it under that name. covey image ls lists what is there, covey image pull and covey image import FILE bring one.',
  'image-in-use': 'Tasks of this node use the image.',
  'image-bad-name': 'That is not an image reference: [registry/]name[:tag][@sha256:digest], lower case.',
  'image-archive':
    'The archive is not one of the known forms (docker-archive, OCI archive, OCI layout, root file system), is cut short, or is damaged.',
  'image-digest':
    'The bytes do not have the digest that names them. The archive is damaged or forged; nothing was stored.',
  'image-layer':
    'A layer of the image is hostile or beyond a limit: paths that lead out, devices where none may be, names too long.',
  'image-platform': 'The image has no variant for the platform of this node.',
  'registry-unreachable':
    'The registry does not answer, answers that it cannot now (429, 5xx), or too slowly. Pulls try again for two minutes; tasks are started anew by their restart policy.',
  'registry-unknown': 'The host name of the registry does not exist, as far as this node can tell.',
  'registry-tls':
    'The registry has a certificate that no authority known to this node signed, or speaks no TLS. registries.yaml names authorities, and registries that may go without.',
  'registry-denied':
    'The registry refuses: the image is private and no credential is kept for it, or the wrong one. covey login keeps one on this node.',
  'credential-helper':
    'The credentials of this node were brought from another program, and that for the registry is not among them: they only name a helper (credHelpers, credsStore) that keeps it. covey runs no helpers. covey login keeps a credential of its own, which wins.',
  'registry-answer':
    'The registry answered what it may not: another length or type than it said, documents that do not fit, a redirect to where covey does not go. Nothing was stored.',
  'registry-blocked': 'The settings of this node (registries.yaml) forbid pulling from that registry.',
  // Tasks
  'no-node-fits':
    'No node can take the task. The message counts how many were looked at and why each group was excluded.',
  'container-create': 'The container runtime could not make the container. The message is the runtime’s.',
  'command-not-found': 'The command of the container does not exist in its image, or is not executable.',
  'user-not-found':
    'The user or group is not in the image’s /etc/passwd or /etc/group. Use a number, or a name that is there.',
  'mount-source':
    'The source of a bind mount does not exist on the node, where covey does not make it; or it may not get the SELinux label that it is to have.',
  'volume-in-use': 'Tasks of the node use the volume. Stop or remove their service first.',
  'mount-failed': 'The kernel refused a mount. The message has the errno and the paths.',
  'container-exit': 'The main process ended by itself. The exit code is in the message; 128+n means signal n.',
  'out-of-memory': 'The kernel killed the main process because the task was at its memory limit.',
  'limit-unsupported':
    'The task asks for a limit that the kernel of its node cannot enforce: a controller that is not there, swap that is not counted, a device that the node does not have. It is refused rather than run without the limit.',
  'limit-refused': 'The kernel did not take the value of a limit. The message has the value and the reason.',
  'limit-below-use':
    'The limit of memory of a running task can only be lowered to what the task can do with: below that the kernel would kill it. It is tried again every few seconds, and the task runs on within its old limit until then.',
  unhealthy: 'The health check failed as often in a row as it may.',
  'hook-failed':
    'A post-start hook of the container failed or took too long, so the task was ended. The message has its exit code and its last words. A pre-stop hook that fails is only logged.',
  'init-failed':
    'An init container did not end with 0, so the containers that need its work were not started. The task is ended and replaced by policy.',
  'sidecar-ended': 'A sidecar with restart "never" ended, and with it the task.',
  'monitor-lost':
    'The monitor (conmon) of the container died, so its exit code and log are lost. The task is ended and replaced by policy.',
  'bad-bundle': 'The spec of the task cannot be turned into a container: contradictory or impossible values.',
  'no-user-namespace':
    'The node cannot give a container a user namespace: its kernel has none (or user.max_user_namespaces is 0), or the file system of its data directory cannot show files under other owners. ext4, xfs and btrfs can since Linux 5.19. Use --userns host, or another node.',
  'privileged-refused':
    'The container asks for all rights on the machine, and the daemon of this node does not allow that. Start coveyd with --allow-privileged yes where it is meant, or ask for single capabilities and devices.',
  'device-not-found':
    'The node has no such device, or no CDI specification in /etc/cdi or /var/run/cdi that names it. covey does not start a task without a device that it asked for.',
  'no-apparmor':
    'The container asks for an AppArmor profile, and the kernel of the node has AppArmor not enabled, or does not know the profile.',
  'no-selinux': 'The container asks for SELinux labels, and the kernel of the node has SELinux not enabled.',
  'hostile-image':
    'The image has a symbolic link or a file where the runtime mounts or starts, so that a container made from it could reach outside of its root. Nothing was started. Build the image without it.',
  'node-rebooted': 'The machine was started anew; its containers are gone.',
  'stopped-by-agent': 'The agent stopped the task because the managers do not name it any more.',
  'exec-failed': 'The program could not be started inside the container.',
  // Network
  'netlink-refused':
    'The kernel refused a change of links, addresses or routes. The message names the object and the errno.',
  'nftables-refused': 'The kernel refused a change of the packet rules. The message is that of libnftables.',
  'network-attach': 'The task could not be connected to its networks.',
  // Host findings (covey doctor)
  'no-cgroup':
    'No usable cgroup hierarchy was found. Limits and clean stops need one: mount cgroup2, or the v1 controllers.',
  'no-crun': 'crun is not installed. runc works too, at three times the start time.',
  'no-runtime': 'Neither crun nor runc works on this host. Containers cannot be started. apt-get install crun',
  'no-conmon':
    'conmon is not installed. It keeps containers, logs and exit codes while the daemon is away. apt-get install conmon',
  'crun-hybrid':
    'crun refuses hosts on which a controller is on cgroup v2 while others are on v1 ("hybrid"). covey mounts hugetlb as v1 in its run directory when no v2 group uses it, and undoes it on leave; otherwise it uses runc.',
  'no-overlayfs': 'The kernel has no overlayfs, or not on this file system. Images need it.',
  'no-vxlan': 'The kernel has no VXLAN. Networks across nodes cannot work on this node.',
  'no-nftables':
    'libnftables or the kernel part is missing. Virtual addresses, published ports and isolation need it. apt-get install libnftables1',
  'not-encrypted':
    'The tunnels between the nodes of this cluster are not encrypted, so they have no keys. covey cluster update --encrypt=true changes that.',
  'no-wireguard':
    'A node has no WireGuard: neither in its kernel nor as the program wireguard-go, or the tool wg is not installed. In an encrypted cluster nothing with an address on a network is placed there.',
  'no-seccomp': 'The kernel or the runtime has no seccomp. Containers run without a system call filter.',
  'firewall-drops':
    'The firewall of this host drops what covey needs, and covey could not put its accept rules at the head of the chain: for its own link where packets are forwarded (published ports, the way out), for the ports of the data path (UDP 7378 and 7379) and of the cluster (TCP 7377) where they come in. The message names the hook, the hint the command.',
  'clock-skew':
    'The clocks of a node and of its manager are more than 30 s apart, or the clock of a machine shows a time before the certificate that it sees. The message names both times. Certificates begin two hours before they are made, so that a clock that is a little behind does no harm; set the one that is wrong.',
  'disk-low': 'Little space is left under the data directory. Image imports stop before it is full.',
  'no-sys-resource':
    'The daemon lacks CAP_SYS_RESOURCE: resource limits above its own, and negative OOM scores, are clamped.',
  'no-systemd': 'systemd does not run this machine; start coveyd by other means.',
  'old-kernel': 'The kernel is older than 5.11, the oldest that covey is made for.',
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** Whether a code is known; a newer daemon may send others. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}
