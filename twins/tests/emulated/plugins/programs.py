"""Programs of a few resources each; `own` are the options with the provider. Braces in them are doubled for format."""

TRAILS = """
evidence = aws.s3.Bucket("evidence", bucket="kit-evidence", object_lock_enabled=True, opts=own)
locked = aws.s3.BucketObjectLockConfiguration(
    "locked",
    bucket=evidence.id,
    rule={{"default_retention": {{"mode": "GOVERNANCE", "days": {days}}}}},
    opts=own,
)
delivers = aws.s3.BucketPolicy(
    "delivers",
    bucket=evidence.id,
    policy=evidence.arn.apply(lambda arn: json.dumps({{
        "Version": "2012-10-17",
        "Statement": [{{
            "Effect": "Allow", "Principal": {{"Service": "cloudtrail.amazonaws.com"}},
            "Action": ["s3:GetBucketAcl", "s3:PutObject"], "Resource": [arn, arn + "/*"],
        }}],
    }})),
    opts=own,
)
aws.cloudtrail.Trail(
    "trail",
    name="kit-trail",
    s3_bucket_name=evidence.id,
    enable_log_file_validation=True,
    enable_logging={logging},
    advanced_event_selectors=[{{
        "name": "objects",
        "field_selectors": [
            {{"field": "eventCategory", "equals": ["Data"]}},
            {{"field": "resources.type", "equals": ["AWS::S3::Object"]}},
            {{"field": "resources.ARN", "starts_withs": ["arn:aws:s3:::{bucket}/"]}},
        ],
    }}],
    tags={{"purpose": {bucket!r}}},
    opts=own.merge(pulumi.ResourceOptions(depends_on=[delivers])),
)
"""
STORAGE = """
key = aws.kms.Key("key", description={description!r}, enable_key_rotation=True, deletion_window_in_days=7, opts=own)
alias = aws.kms.Alias("alias", name="alias/models", target_key_id=key.key_id, opts=own)
store = aws.s3.Bucket("store", force_destroy=True, tags={{"purpose": {purpose!r}}}, opts=own)
aws.s3.BucketVersioning("versioned", bucket=store.id, versioning_configuration={{"status": "Enabled"}}, opts=own)
aws.s3.BucketPublicAccessBlock(
    "private",
    bucket=store.id,
    block_public_acls=True,
    block_public_policy=True,
    ignore_public_acls=True,
    restrict_public_buckets={restrict},
    opts=own,
)
aws.s3.BucketServerSideEncryptionConfiguration(
    "encrypted",
    bucket=store.id,
    rules=[{{
        "apply_server_side_encryption_by_default": {{"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn}},
        "bucket_key_enabled": True,
    }}],
    opts=own,
)
aws.s3.BucketLifecycleConfiguration(
    "old",
    bucket=store.id,
    rules=[{{
        "id": "old",
        "status": "Enabled",
        "noncurrent_version_expiration": {{"noncurrent_days": {days}}},
        "abort_incomplete_multipart_upload": {{"days_after_initiation": 7}},
    }}],
    opts=own,
)
aws.s3.BucketOwnershipControls("owned", bucket=store.id, rule={{"object_ownership": "BucketOwnerEnforced"}}, opts=own)
aws.s3.BucketPolicy(
    "tls",
    bucket=store.id,
    policy=store.arn.apply(lambda arn: json.dumps({{
        "Version": "2012-10-17",
        "Statement": [{{
            "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, arn + "/*"],
            "Condition": {{"Bool": {{"aws:SecureTransport": "false"}}}},
        }}],
    }})),
    opts=own,
)
pulumi.export("bucket", store.id)
"""

IDENTITY = """
trusted = {{"Service": "sagemaker.amazonaws.com"}}
trust = {{
    "Version": "2012-10-17",
    "Statement": [{{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}}],
}}
allowed = {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": {action!r}, "Resource": "*"}}]}}
role = aws.iam.Role(
    "role",
    assume_role_policy=trust,
    max_session_duration={hours} * 3600,
    permissions_boundary={boundary!r},
    opts=own,
)
aws.iam.RolePolicy("inline", role=role.name, policy=json.dumps(allowed), opts=own)
"""

WATCHING = """
logs = aws.cloudwatch.LogGroup("logs", name="/kit/models", retention_in_days={days}, opts=own)
topic = aws.sns.Topic("alarms", opts=own)
aws.cloudwatch.MetricAlarm(
    "alarm",
    comparison_operator="GreaterThanThreshold",
    evaluation_periods=2,
    metric_name="Invocation5XXErrors",
    namespace="AWS/SageMaker",
    period=60,
    statistic="Sum",
    threshold={threshold},
    dimensions={{"EndpointName": "chatbot", "VariantName": "main"}},
    alarm_actions=[topic.arn],
    opts=own,
)
of_errors = {{
    "namespace": "AWS/SageMaker", "metric_name": "Invocation5XXErrors", "period": 300,
    "dimensions": {{"EndpointName": "chatbot", "VariantName": "main"}},
}}
aws.cloudwatch.MetricAlarm(
    "rate",
    comparison_operator="GreaterThanThreshold",
    evaluation_periods=1,
    threshold=0.05,
    metric_queries=[
        {{"id": "errors", "metric": {{**of_errors, "stat": "Sum"}}}},
        {{"id": "rate", "metric": {{**of_errors, "stat": "Average"}}}},
        {{"id": "result", "expression": "IF(errors >= {threshold}, rate, 0)", "label": "5xx", "return_data": True}},
    ],
    opts=own,
)
aws.cloudwatch.LogMetricFilter(
    "counted",
    log_group_name=logs.name,
    pattern="{{ $.event = refused }}",
    metric_transformation={{
        "name": "Refused", "namespace": "Kit", "value": {value!r}, "default_value": "0", "unit": "Count",
    }},
    opts=own,
)
widget = {{"type": "text", "x": 0, "y": 0, "width": 6, "height": 3, "properties": {{"markdown": {title!r}}}}}
body = {{"widgets": [widget]}}
aws.cloudwatch.Dashboard("board", dashboard_name="models", dashboard_body=json.dumps(body), opts=own)
"""

MESSAGES = """
topic = aws.sns.Topic("topic", display_name={display!r}, opts=own)
aws.sns.TopicPolicy(
    "published",
    arn=topic.arn,
    policy=topic.arn.apply(lambda arn: json.dumps({{
        "Version": "2012-10-17",
        "Statement": [{{
            "Effect": "Allow",
            "Principal": {{"Service": "cloudwatch.amazonaws.com"}},
            "Action": "sns:Publish",
            "Resource": arn,
        }}],
    }})),
    opts=own,
)
aws.sns.TopicSubscription(
    "subscribed", topic=topic.arn, protocol="sqs", endpoint={queue!r}, raw_message_delivery={raw}, opts=own
)
"""

REGISTRY = """
repository = aws.ecr.Repository(
    "repository",
    name="kit/serving",
    image_tag_mutability="IMMUTABLE",
    image_scanning_configuration={{"scan_on_push": {scan}}},
    opts=own,
)
aws.ecr.LifecyclePolicy(
    "kept",
    repository=repository.name,
    policy={{"rules": [{{
        "rule_priority": 1,
        "selection": {{"tag_status": "any", "count_type": "imageCountMoreThan", "count_number": {keep}}},
        "action": {{"type": "expire"}},
    }}]}},
    opts=own,
)
"""

NETWORK = """
vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", enable_dns_hostnames={hostnames}, opts=own)
subnet = aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="10.0.1.0/24", availability_zone="eu-central-1a", opts=own)
table = aws.ec2.RouteTable("table", vpc_id=vpc.id, opts=own)
aws.ec2.RouteTableAssociation("routed", subnet_id=subnet.id, route_table_id=table.id, opts=own)
group = aws.ec2.SecurityGroup("group", vpc_id=vpc.id, description="of models", opts=own)
aws.vpc.SecurityGroupIngressRule(
    "https",
    security_group_id=group.id,
    ip_protocol="tcp",
    from_port=443,
    to_port=443,
    cidr_ipv4={cidr!r},
    description={note!r},
    opts=own,
)
aws.vpc.SecurityGroupEgressRule("out", security_group_id=group.id, ip_protocol="-1", cidr_ipv4="0.0.0.0/0", opts=own)
aws.ec2.VpcEndpoint(
    "storage",
    vpc_id=vpc.id,
    service_name="com.amazonaws.eu-central-1.s3",
    route_table_ids=[table.id],
    opts=own,
)
aws.ec2.VpcEndpoint(
    "door",
    vpc_id=vpc.id,
    service_name="com.amazonaws.eu-central-1.logs",
    vpc_endpoint_type="Interface",
    subnet_ids=[subnet.id],
    security_group_ids=[group.id],
    private_dns_enabled=True,
    tags={{"purpose": {note!r}}},
    opts=own,
)
"""

TRAFFIC = """
vpc = aws.ec2.Vpc("watched", cidr_block="10.9.0.0/16", opts=own)
logs = aws.cloudwatch.LogGroup("flows", retention_in_days=30, opts=own)
trusted = {{"Service": "vpc-flow-logs.amazonaws.com"}}
trust = {{
    "Version": "2012-10-17",
    "Statement": [{{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}}],
}}
role = aws.iam.Role("watcher", assume_role_policy=trust, opts=own)
aws.ec2.FlowLog(
    "flow",
    vpc_id=vpc.id,
    traffic_type="ALL",
    log_destination=logs.arn,
    iam_role_arn=role.arn,
    tags={{"purpose": {purpose!r}}},
    opts=own,
)
"""

PLANNED = """
trusted = {{"Service": "scheduler.amazonaws.com"}}
trust = {{
    "Version": "2012-10-17",
    "Statement": [{{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}}],
}}
role = aws.iam.Role("scheduler", assume_role_policy=trust, opts=own)
group = aws.scheduler.ScheduleGroup("schedules", name="kit", opts=own)
aws.scheduler.Schedule(
    "schedule",
    name="nightly",
    group_name=group.name,
    schedule_expression={cron!r},
    flexible_time_window={{"mode": "OFF"}},
    target={{
        "arn": "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob",
        "role_arn": role.arn,
        "input": json.dumps({{"TrainingJobName": "nightly-<aws.scheduler.execution-id>"}}),
        "retry_policy": {{"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 2}},
    }},
    opts=own,
)
aws.budgets.Budget(
    "budget",
    name="models",
    budget_type="COST",
    limit_amount={amount!r},
    limit_unit="USD",
    time_unit="MONTHLY",
    cost_filters=[{{"name": "TagKeyValue", "values": ["user:llmops:stack$dev"]}}],
    notifications=[{{
        "comparison_operator": "GREATER_THAN",
        "notification_type": "ACTUAL",
        "threshold": {percent},
        "threshold_type": "PERCENTAGE",
        "subscriber_email_addresses": ["models@example.com"],
    }}],
    opts=own,
)
"""

ENDPOINTS = """
trusted = {{"Service": "sagemaker.amazonaws.com"}}
trust = {{
    "Version": "2012-10-17",
    "Statement": [{{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}}],
}}
role = aws.iam.Role("serving", assume_role_policy=trust, opts=own)
aws.sagemaker.ModelPackageGroup("versions", model_package_group_name="chatbots", opts=own)
model = aws.sagemaker.Model(
    "model",
    execution_role_arn=role.arn,
    enable_network_isolation=True,
    primary_container={{
        "image": "process:serving@sha256:" + "0" * 64,
        "environment": {{"LLMOPS_AUTH": "platform"}},
    }},
    opts=own,
)
configuration = aws.sagemaker.EndpointConfiguration(
    "configuration",
    production_variants=[{{
        "variant_name": "main",
        "model_name": model.name,
        "instance_type": "ml.g5.xlarge",
        "initial_instance_count": {instances},
        "container_startup_health_check_timeout_in_seconds": 600,
        "volume_size_in_gb": 100,
        "routing_configs": [{{"routing_strategy": "LEAST_OUTSTANDING_REQUESTS"}}],
    }}],
    opts=own,
)
endpoint = aws.sagemaker.Endpoint(
    "endpoint",
    name="chatbot",
    endpoint_config_name=configuration.name,
    deployment_config={{
        "blue_green_update_policy": {{
            "traffic_routing_configuration": {{"type": "ALL_AT_ONCE", "wait_interval_in_seconds": 0}},
        }},
    }},
    opts=own,
)
scaled = aws.appautoscaling.Target(
    "scaled",
    service_namespace="sagemaker",
    resource_id=endpoint.name.apply(lambda name: f"endpoint/{{name}}/variant/main"),
    scalable_dimension="sagemaker:variant:DesiredInstanceCount",
    min_capacity=1,
    max_capacity={most},
    opts=own,
)
aws.appautoscaling.Policy(
    "policy",
    policy_type="TargetTrackingScaling",
    service_namespace=scaled.service_namespace,
    resource_id=scaled.resource_id,
    scalable_dimension=scaled.scalable_dimension,
    target_tracking_scaling_policy_configuration={{
        "target_value": {target},
        "predefined_metric_specification": {{
            "predefined_metric_type": "SageMakerVariantConcurrentRequestsPerModelHighResolution",
        }},
        "scale_in_cooldown": 300,
    }},
    opts=own,
)
aws.appautoscaling.Policy(
    "steps",
    policy_type="StepScaling",
    service_namespace=scaled.service_namespace,
    resource_id=scaled.resource_id,
    scalable_dimension=scaled.scalable_dimension,
    step_scaling_policy_configuration={{
        "adjustment_type": "ChangeInCapacity",
        "cooldown": 60,
        "metric_aggregation_type": "Maximum",
        "step_adjustments": [
            {{"metric_interval_upper_bound": "10", "metric_interval_lower_bound": "0", "scaling_adjustment": 1}},
            {{"metric_interval_lower_bound": "10", "scaling_adjustment": 2}},
        ],
    }},
    opts=own,
)
"""

ENDPOINT = ENDPOINTS[: ENDPOINTS.index("scaled = ")].format(instances=1)
"""An endpoint with what it stands on."""
TAKEN = """
from pulumi import ResourceOptions

def taken(id):
    return ResourceOptions.merge(own, ResourceOptions(import_=id)) if {imported} else own

key = aws.kms.Key("key", description="models", opts=taken({key!r}))
group = aws.cloudwatch.LogGroup("group", name="/kit/taken", retention_in_days=30, opts=taken("/kit/taken"))
topic = aws.sns.Topic("topic", name="taken", display_name="Models", opts=taken({topic!r}))
bucket = aws.s3.Bucket("bucket", bucket="taken-models", tags={{"purpose": "models"}}, opts=taken("taken-models"))
aws.s3.BucketVersioning(
    "versions", bucket=bucket.bucket, versioning_configuration={{"status": "Enabled"}}, opts=taken("taken-models")
)
repository = aws.ecr.Repository("repository", name="kit/taken", force_delete=False, opts=taken("kit/taken"))
trust = {{
    "Version": "2012-10-17",
    "Statement": [{{"Effect": "Allow", "Principal": {{"Service": "ec2.amazonaws.com"}}, "Action": "sts:AssumeRole"}}],
}}
role = aws.iam.Role("role", name="taken", assume_role_policy=json.dumps(trust), opts=taken("taken"))
aws.iam.RolePolicy("inline", role=role.name, name="reads", policy=json.dumps({{
    "Version": "2012-10-17",
    "Statement": [{{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}],
}}), opts=taken("taken:reads"))
"""

FUNCTIONS = """
options = pulumi.InvokeOptions(provider=provider)
key = aws.kms.Key("key", key_usage="SIGN_VERIFY", customer_master_key_spec="ECC_NIST_P256", opts=own)
pulumi.export("pem", aws.kms.get_public_key_output(key_id=key.key_id, opts=options).public_key_pem)
""".replace("{{", "{").replace("}}", "}")
