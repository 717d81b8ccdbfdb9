"""Tables of operations whose IAM actions or resources don't follow from names.

Right-hand sides are JMESPath expressions over an operation's parameters.
Source: AWS's Service Authorization Reference and the permissions pages of each service's guide.
"""

FREE = {("sts", "GetCallerIdentity"), ("sts", "GetSessionToken"), ("sts", "AssumeRoleWithSAML")}
"""Operations that need no permission, or that the twin's policies don't decide."""

ACTIONS: dict[tuple[str, str], str] = {
    **{("budgets", operation): "budgets:ModifyBudget" for operation in [
        "CreateBudget", "UpdateBudget", "DeleteBudget", "CreateNotification", "UpdateNotification",
        "DeleteNotification", "CreateSubscriber", "UpdateSubscriber", "DeleteSubscriber",
    ]},
    **{("budgets", operation): "budgets:ViewBudget" for operation in [
        "DescribeBudget", "DescribeBudgets", "DescribeNotificationsForBudget", "DescribeSubscribersForNotification",
        "DescribeBudgetPerformanceHistory", "DescribeBudgetNotificationsForAccount",
    ]},
    ("sns", "PublishBatch"): "sns:Publish",
    ("sqs", "SendMessageBatch"): "sqs:SendMessage",
    ("sqs", "DeleteMessageBatch"): "sqs:DeleteMessage",
    ("sqs", "ChangeMessageVisibilityBatch"): "sqs:ChangeMessageVisibility",
    ("iam", "UpdateOpenIDConnectProvider"): "iam:UpdateOpenIDConnectProviderThumbprint",
    ("ecr", "ListImageReferrers"): "ecr:ListImages",
}  # fmt: skip
"""Operations whose action has another name: (service, operation) -> action."""

PLACEHOLDERS: dict[tuple[str, str], str] = {
    ("budgets", "BudgetName"): "BudgetName || Budget.BudgetName || NewBudget.BudgetName",
    ("cloudtrail", "TrailName"): "Name || TrailName",
    ("cloudwatch", "AlarmName"): "AlarmName || AlarmNames",
    ("cloudwatch", "DashboardName"): "DashboardName || DashboardNames",
    ("ecr", "RepositoryName"): "repositoryName || repositoryNames",
    ("events", "EventBusName"): "EventBusName",
    ("events", "RuleName"): "Name || Rule",
    ("scheduler", "ScheduleName"): "Name",
    ("sns", "TopicName"): "Name",
    ("sqs", "QueueName"): "QueueName",
    ("ec2", "SecurityGroupId"): "[GroupId, SecurityGroupId, GroupIds, SecurityGroupIds][]",
    ("ec2", "SecurityGroupRuleId"): "SecurityGroupRuleIds",
    ("ec2", "VpcFlowLogId"): "FlowLogIds",
    ("ec2", "SubnetId"): "[SubnetId, SubnetIds][]",
    ("ec2", "RouteTableId"): "[RouteTableId, RouteTableIds, AddRouteTableIds, RemoveRouteTableIds][]",
    ("ec2", "VpcEndpointId"): "[VpcEndpointId, VpcEndpointIds][]",
    ("sagemaker", "EndpointConfigName"): "EndpointConfigName",
    ("servicequotas", "ServiceCode"): "ServiceCode",
}
"""Placeholders of resource names that are not filled from the parameter of the same name."""

CREATES_TAGGED: dict[str, str] = {
    "sagemaker": "sagemaker:AddTags",
    "logs": "logs:TagResource",
    "cloudwatch": "cloudwatch:TagResource",
    "application-autoscaling": "application-autoscaling:TagResource",
    "scheduler": "scheduler:TagResource",
    "events": "events:TagResource",
    "ecr": "ecr:TagResource",
    "sns": "sns:TagResource",
    "sqs": "sqs:TagQueue",
    "budgets": "budgets:TagResource",
    "cloudtrail": "cloudtrail:AddTags",
    "kms": "kms:TagResource",
    "ssm": "ssm:AddTagsToResource",
    "secretsmanager": "secretsmanager:TagResource",
}
"""The additional action that a creating call with tags needs on the new resource, by service."""

IAM_TAGS = {
    "CreateRole": "iam:TagRole",
    "CreateUser": "iam:TagUser",
    "CreatePolicy": "iam:TagPolicy",
    "CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider",
    "CreateInstanceProfile": "iam:TagInstanceProfile",
    "CreateSAMLProvider": "iam:TagSAMLProvider",
}

REQUEST_TAGS = "Tags || tags || TagList || TagsList || ResourceTags"
REQUEST_TAGS += " || CreateBucketConfiguration.Tags || TagSpecifications[].Tags[]"
TAG_KEYS = "TagKeys || tagKeys || ResourceTagKeys"

PASSED_ROLES: dict[tuple[str, str], tuple[str, str]] = {
    ("sagemaker", "CreateModel"): ("ExecutionRoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "CreateEndpointConfig"): ("ExecutionRoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "CreateTrainingJob"): ("RoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "CreateProcessingJob"): ("RoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "CreatePipeline"): ("RoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "UpdatePipeline"): ("RoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "CreateMlflowTrackingServer"): ("RoleArn", "sagemaker.amazonaws.com"),
    ("sagemaker", "CreateMlflowApp"): ("RoleArn", "sagemaker.amazonaws.com"),
    ("scheduler", "CreateSchedule"): ("Target.RoleArn", "scheduler.amazonaws.com"),
    ("scheduler", "UpdateSchedule"): ("Target.RoleArn", "scheduler.amazonaws.com"),
    ("application-autoscaling", "RegisterScalableTarget"): ("RoleARN", "application-autoscaling.amazonaws.com"),
    ("events", "PutRule"): ("RoleArn", "events.amazonaws.com"),
    ("events", "PutTargets"): ("Targets[].RoleArn", "events.amazonaws.com"),
    ("cloudtrail", "CreateTrail"): ("CloudWatchLogsRoleArn", "cloudtrail.amazonaws.com"),
    ("cloudtrail", "UpdateTrail"): ("CloudWatchLogsRoleArn", "cloudtrail.amazonaws.com"),
    ("ec2", "CreateFlowLogs"): ("DeliverLogsPermissionArn", "vpc-flow-logs.amazonaws.com"),
    ("logs", "PutSubscriptionFilter"): ("roleArn", "logs.amazonaws.com"),
    ("s3", "PutBucketReplication"): ("ReplicationConfiguration.Role", "s3.amazonaws.com"),
    ("iam", "AddRoleToInstanceProfile"): ("RoleName", "ec2.amazonaws.com"),
}
"""The parameter with a role that a call passes to a service, and that service; the caller needs iam:PassRole on it."""

_TRAINING_AND_HOSTING = {
    "sagemaker:InstanceTypes": "[ProductionVariants[].InstanceType, ShadowProductionVariants[].InstanceType, "
    "[ResourceConfig.InstanceType], ResourceConfig.InstanceGroups[].InstanceType][]",
    "sagemaker:NetworkIsolation": "EnableNetworkIsolation",
    "sagemaker:VpcSubnets": "VpcConfig.Subnets",
    "sagemaker:VpcSecurityGroupIds": "VpcConfig.SecurityGroupIds",
    "sagemaker:VolumeKmsKeyArn": "KmsKeyId || ResourceConfig.VolumeKmsKeyId",
    "sagemaker:OutputKmsKeyArn": "OutputDataConfig.KmsKeyId",
    "sagemaker:InterContainerTrafficEncryption": "EnableInterContainerTrafficEncryption",
    "sagemaker:MaxRuntimeInSeconds": "StoppingCondition.MaxRuntimeInSeconds",
    "sagemaker:KeepAlivePeriod": "ResourceConfig.KeepAlivePeriodInSeconds",
    "sagemaker:EnableRemoteDebug": "RemoteDebugConfig.EnableRemoteDebug",
    "sagemaker:ServerlessMemorySize": "ProductionVariants[0].ServerlessConfig.MemorySizeInMB",
    "sagemaker:ServerlessMaxConcurrency": "ProductionVariants[0].ServerlessConfig.MaxConcurrency",
    "sagemaker:ModelApprovalStatus": "ModelApprovalStatus",
    "sagemaker:TargetModel": "TargetModel",
}

CONTEXT: dict[str, dict[str, str]] = {
    "sagemaker": _TRAINING_AND_HOSTING,
    "application-autoscaling": {
        "application-autoscaling:service-namespace": "ServiceNamespace",
        "application-autoscaling:scalable-dimension": "ScalableDimension",
    },
    "cloudwatch": {"cloudwatch:namespace": "Namespace", "cloudwatch:AlarmActions": "AlarmActions"},
    "iam": {
        "iam:PolicyARN": "PolicyArn",
        "iam:AWSServiceName": "AWSServiceName",
        "iam:PermissionsBoundary": "PermissionsBoundary",
    },
    "kms": {
        "kms:KeySpec": "KeySpec",
        "kms:KeyUsage": "KeyUsage",
        "kms:KeyOrigin": "Origin",
        "kms:MultiRegion": "MultiRegion",
        "kms:BypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck",
        "kms:SigningAlgorithm": "SigningAlgorithm",
        "kms:MessageType": "MessageType",
        "kms:EncryptionAlgorithm": "EncryptionAlgorithm",
        "kms:GrantOperations": "Operations",
        "kms:GranteePrincipal": "GranteePrincipal",
        "kms:RetiringPrincipal": "RetiringPrincipal",
        "kms:ScheduleKeyDeletionPendingWindowInDays": "PendingWindowInDays",
    },
    "s3": {
        "s3:prefix": "Prefix",
        "s3:delimiter": "Delimiter",
        "s3:max-keys": "MaxKeys",
        "s3:VersionId": "VersionId",
        "s3:x-amz-acl": "ACL",
        "s3:x-amz-server-side-encryption": "ServerSideEncryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
        "s3:x-amz-storage-class": "StorageClass",
        "s3:x-amz-copy-source": "CopySource",
        "s3:x-amz-metadata-directive": "MetadataDirective",
        "s3:if-none-match": "IfNoneMatch",
        "s3:if-match": "IfMatch",
        "s3:locationconstraint": "CreateBucketConfiguration.LocationConstraint",
        "s3:x-amz-object-ownership": "ObjectOwnership",
        "s3:object-lock-mode": "ObjectLockMode",
        "s3:object-lock-retain-until-date": "ObjectLockRetainUntilDate",
    },
    "sns": {"sns:Protocol": "Protocol", "sns:Endpoint": "Endpoint"},
    "sts": {"sts:ExternalId": "ExternalId", "sts:RoleSessionName": "RoleSessionName"},
    "ec2": {
        "ec2:VpceServiceName": "ServiceName",
        "ec2:VpcID": "VpcId",
        "ec2:SubnetID": "SubnetId",
        "ec2:AuthorizedService": "AwsService",
        "ec2:Permission": "Permission",
    },
    "events": {"events:TargetArn": "Targets[].Arn"},
    "secretsmanager": {"secretsmanager:Name": "Name", "secretsmanager:SecretId": "SecretId"},
}
"""IAM condition keys that a call's own parameters fill, by service."""

EC2_IDS = {
    "vpc": "vpc",
    "subnet": "subnet",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "rtb": "route-table",
    "vpce": "vpc-endpoint",
    "eni": "network-interface",
    "igw": "internet-gateway",
    "nat": "natgateway",
    "eipalloc": "elastic-ip",
    "acl": "network-acl",
    "fl": "vpc-flow-log",
}
"""Prefix of an EC2 id -> resource type."""
