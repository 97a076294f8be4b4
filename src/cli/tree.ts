/**
 * All commands, in the order of `covey help all`.
 *
 * Not here: what they do (commands/).
 */

import { addressCommands } from './commands/address.js';
import { attachCommands } from './commands/attach.js';
import { clusterCommands } from './commands/cluster.js';
import { clusterBackupCommands } from './commands/cluster-backup.js';
import { clusterCaCommands } from './commands/cluster-ca.js';
import { clusterLockCommands } from './commands/cluster-lock.js';
import { clusterRecoverCommands } from './commands/cluster-recover.js';
import { clusterSettingsCommands } from './commands/cluster-settings.js';
import { copyCommands } from './commands/copy.js';
import { execCommands } from './commands/exec.js';
import { generalCommands } from './commands/general.js';
import { imageCommands } from './commands/image.js';
import { imageCareCommands } from './commands/image-care.js';
import { networkCommands } from './commands/network.js';
import { networkCaptureCommands } from './commands/network-capture.js';
import { networkPolicyCommands } from './commands/network-policy.js';
import { networkUpdateCommands } from './commands/network-update.js';
import { nodeCommands } from './commands/node.js';
import { nodeDrainCommands } from './commands/node-drain.js';
import { rebalanceCommands } from './commands/rebalance.js';
import { registryCommands } from './commands/registry.js';
import { serviceCommands } from './commands/service/index.js';
import { stackCommands } from './commands/stack.js';
import { statsCommands } from './commands/stats.js';
import { taskCommands } from './commands/task.js';
import { taskVerbCommands } from './commands/task-verbs.js';
import { tokenCommands } from './commands/token.js';
import { volumeCommands } from './commands/volume.js';
import type { CommandDefinition } from './definition.js';

export const commandTree: readonly CommandDefinition[] = [
  ...clusterCommands,
  ...clusterSettingsCommands,
  ...clusterCaCommands,
  ...clusterLockCommands,
  ...clusterRecoverCommands,
  ...clusterBackupCommands,
  ...execCommands,
  ...attachCommands,
  ...copyCommands,
  ...generalCommands(() => commandTree),
  ...tokenCommands,
  ...nodeCommands,
  ...nodeDrainCommands,
  ...rebalanceCommands,
  ...serviceCommands,
  ...taskCommands,
  ...statsCommands,
  ...taskVerbCommands,
  ...stackCommands,
  ...imageCommands,
  ...imageCareCommands,
  ...registryCommands,
  ...networkCommands,
  ...networkUpdateCommands,
  ...networkPolicyCommands,
  ...networkCaptureCommands,
  ...addressCommands,
  ...volumeCommands,
];
