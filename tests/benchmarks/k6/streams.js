// Plays the streams of one scenario. What they ask, how often, and what must hold comes with the plan,
// which tests/benchmarks/by_k6.py writes from tests/benchmarks/scenarios.py: this script only sends, in
// the plan's order.
//
// A line of requests is "METHOD target body", the body empty where there is none. Every stream is a k6
// scenario of the same name, so metrics and thresholds of a stream are those tagged with it.
import { SharedArray } from 'k6/data';
import exec from 'k6/execution';
import http from 'k6/http';

const plan = JSON.parse(open(__ENV.PLAN));

// Kept once for all virtual users.
const requests = {};
for (const [stream, file] of Object.entries(plan.requests)) {
  requests[stream] = new SharedArray(stream, () => open(file).split('\n').slice(0, -1));
}

export const options = plan.options;

export default function () {
  const stream = exec.scenario.name;
  const lines = requests[stream];
  const line = lines[exec.scenario.iterationInTest % lines.length];
  const [, method, target, body] = /^(\S+) (\S+) (.*)$/.exec(line);
  http.request(method, plan.address + target, body || null, {
    headers: body ? { 'Content-Type': 'application/json' } : {},
    // Else each target is a time series of its own, and k6 runs out of memory.
    tags: { name: stream },
  });
}

export function handleSummary(data) {
  return { [plan.summary]: JSON.stringify(data) };
}
