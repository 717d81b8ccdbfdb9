// Judges accesses by IAM's rules: one JSON document per line on standard input, one answer per line on standard output.
//
//   {"id": 1, "policies": {"<key>": "<text>"}, "questions": [{principal, account, action, resource, context,
//     identity: [key], boundary: [key] | null, session: key | null, resource_policy: key | null}]}
//   -> {"id": 1, "answers": [{"allowed": true} | {"allowed": false, "by": "identity", "explicit": false}]}
//   {"id": 2, "kind": "identity" | "resource" | "trust", "validate": "<text>"} -> {"id": 2, "errors": ["…"]}
//
// Policies are sent once and referred to by their keys afterwards. The process ends when its input does.
//
// The evaluator's main function drops context keys that it does not know, such as kms:EncryptionContext:aws:s3:arn, and
// gives no reasons unless it filters. So its engine is called directly, with the filter below.
import { createInterface } from 'node:readline'
import { loadPolicy, validateIdentityPolicy, validateResourcePolicy, validateTrustPolicy } from '@cloud-copilot/iam-policy'
import { allowedContextKeysForRequest, getDenialReasons, isConditionKeyArray, isWildcardOnlyAction, typeForContextKey } from '@cloud-copilot/iam-simulate'

const engine = new URL('./node_modules/@cloud-copilot/iam-simulate/dist/esm/', import.meta.url)
const { authorize } = await import(new URL('core_engine/CoreSimulatorEngine.js', engine))
const { AwsRequestImpl } = await import(new URL('request/request.js', engine))
const { RequestContextImpl } = await import(new URL('requestContext.js', engine))
const { DiscoveryContextKeyConstraints } = await import(new URL('context_keys/discoveryContextKeyConstraints.js', engine))

const validators = { identity: validateIdentityPolicy, resource: validateResourcePolicy, trust: validateTrustPolicy }
const policies = new Map()
const parameters = {
  simulationMode: 'Strict',
  discoveryContextKeyConstraints: new DiscoveryContextKeyConstraints([]),
}

async function judge(question) {
  const [service, action] = question.action.split(':')
  const context = await contextFor(service, action, question.resource, question.context)
  const analysis = authorize({
    request: new AwsRequestImpl(
      question.principal,
      { resource: question.resource, accountId: question.account },
      question.action,
      new RequestContextImpl(context),
      await isWildcardOnlyAction(service, action),
    ),
    sessionPolicy: policy(question.session),
    identityPolicies: question.identity.map(policy),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: policy(question.resource_policy),
    permissionBoundaries: question.boundary?.map(policy),
    vpcEndpointPolicies: undefined,
    simulationParameters: parameters,
    serviceSettings: { s3: {} },
  })
  return analysis.result === 'Allowed' ? { allowed: true } : { allowed: false, ...reason(analysis) }
}

function policy(key) {
  return key ? policies.get(key) : undefined
}

// Which kind of policy decided, as AWS's message names it: an explicit denial first, then the guard that blocks.
function reason(analysis) {
  const explicit = analysis.result === 'ExplicitlyDenied'
  if (analysis.sessionAnalysis && analysis.sessionAnalysis.result !== 'Allowed') {
    if (!explicit || analysis.sessionAnalysis.result === 'ExplicitlyDenied') return { by: 'session', explicit }
  }
  const denials = getDenialReasons(analysis)
  const first = denials.find((each) => explicit && each.denialType === 'Explicit') ?? denials.find((each) => each.blocking)
  const lacking = analysis.identityAnalysis?.result === 'Allowed' ? 'resource' : 'identity'
  return { by: first?.policyType ?? lacking, explicit }
}

// The keys that AWS would fill in for this action and resource, in the shape (text or list) that their type asks for.
async function contextFor(service, action, resource, given) {
  const known = await knownKeys(service, action, resource)
  const context = {}
  for (const [key, value] of Object.entries(given)) {
    const lower = key.toLowerCase()
    if (known && !known.has(lower) && !known.prefixes.some((prefix) => lower.startsWith(prefix))) continue
    context[key] = Array.isArray(value) && !(await isList(lower)) ? value[0] : value
  }
  return context
}

const keysOf = new Map()
async function knownKeys(service, action, resource) {
  const cached = `${service}:${action} ${resource.split(':').slice(0, 3)} ${resource.split(/[:/]/)[5]} ${resource.includes('/')}`
  if (!keysOf.has(cached)) keysOf.set(cached, await readKeys(service, action, resource))
  return keysOf.get(cached)
}

async function readKeys(service, action, resource) {
  if (action === 'AssumeRoleWithWebIdentity') return undefined // its context keys begin with the issuer's name, which can be any
  let keys
  try {
    keys = await allowedContextKeysForRequest(service, action, resource, true)
  } catch {
    return undefined // the resource fits several types or none: nothing is filtered
  }
  const known = new Set(keys)
  // aws:principaltag/tag-key, aws:resourcetag/${tagkey}, s3:requestobjecttag/<key>, kms:encryptioncontext:${…}
  known.prefixes = keys.filter((key) => /[/<$]/.test(key)).map((key) => key.replace(/(?<=\/).*|[<$].*/, ''))
  return known
}

const lists = new Map()
async function isList(key) {
  if (!lists.has(key)) lists.set(key, isConditionKeyArray(await typeForContextKey(key).catch(() => 'ArrayOfString')))
  return lists.get(key)
}

async function answer(line) {
  const message = JSON.parse(line)
  for (const [key, text] of Object.entries(message.policies ?? {})) policies.set(key, loadPolicy(JSON.parse(text), { name: key }))
  if (message.validate !== undefined) {
    const errors = validators[message.kind](JSON.parse(message.validate))
    return { id: message.id, errors: errors.map((each) => `${each.message} (${each.path})`) }
  }
  const answers = []
  for (const question of message.questions) answers.push(await judge(question))
  return { id: message.id, answers }
}

console.log(JSON.stringify({ ready: true }))
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let reply
  try {
    reply = await answer(line)
  } catch (error) {
    reply = { id: -1, error: `${error.stack ?? error}` }
  }
  console.log(JSON.stringify(reply))
}
