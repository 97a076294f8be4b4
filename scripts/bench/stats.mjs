// Small arithmetic of samples, shared by the groups.

export function percentile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export function median(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A metric whose value is the median of its samples; with the peer's median, the ratio ours to theirs. */
export function metric(name, unit, samples, peerSamples) {
  const value = median(samples);
  if (peerSamples === undefined) return { metric: name, value, unit, samples };
  const peer = median(peerSamples);
  return { metric: name, value, unit, samples, peer, ratio: value / peer, peerSamples };
}
