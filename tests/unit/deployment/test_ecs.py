"""What `eventmesh export ecs` writes, against AWS's own models and cfn-lint."""

import json

import pytest
import yaml
from aws_requests import OPERATIONS, Stack, faults
from click.testing import CliRunner
from exported_services import ORDERS, STOCK

from eventmesh.cli.main import cli
from eventmesh.deployment.ecs.limits import check_definition, check_template
from eventmesh.deployment.ecs.sizes import FARGATE
from eventmesh.model.errors import SettingsError

SETTINGS = (
    "name=shop",
    "registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop",
    "domain=shop.example",
    "services.stock.minimum=0",
    "services.stock.count=0",
    "services.stock.egress=false",
    "services.stock.store=stock-db",
    "services.stock.cpus=0.25",
    "services.stock.memory=512M",
)
ELSEWHERE = "broker=amqps://mq.example/shop"
FORMS = (
    (),
    ("ecs.launch_type=EC2", "rabbitmq.nodes=3", "ecs.architecture=ARM64"),
    (ELSEWHERE, "private_authority=true", "ecs.cluster=shop", "ecs.backlog_namespace=Shop"),
    ("ecs.rabbitmq_version=4.2", "maximum=1", "registry=images.example"),
)
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/{}-AbCdEf"
ROLE = "arn:aws:iam::123456789012:role/start"


@pytest.fixture
def export(write):
    write("orders/app.py", ORDERS)
    write("stock/app.py", STOCK)

    def export(*settings, arguments=(), code=0):
        given = [word for each in (*SETTINGS, *settings) for word in ("--set", each)]
        command = ["export", "ecs", "orders", "stock", *given, *arguments]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == code, result.output
        return result.stderr if code else result.stdout

    return export


def lint(template, *regions):
    # Only who runs these tests waits until it is loaded.
    from cfnlint.api import ManualArgs, lint

    return [str(each) for each in lint(template, config=ManualArgs(regions=[*regions]))]


@pytest.mark.parametrize("settings", FORMS)
def test_every_document_is_one_that_aws_takes(export, settings):
    stack = Stack(yaml.safe_load(export(*settings)))
    seen = set()
    for service, operation, request in stack.requests():
        assert faults(service, operation, request) == []
        seen.add(operation)
    wanted = {operation for _, operation, _ in OPERATIONS.values()} - {"CreateBroker"}
    fixed = {"RegisterScalableTarget"} if "maximum=1" in settings else set()
    assert seen >= wanted - fixed
    assert ("CreateBroker" in seen) is (ELSEWHERE not in settings)


def test_the_validator_finds_what_botocores_own_does_not():
    request = {
        "family": "shop",
        "networkMode": "vpc",
        "containerDefinitions": [{"name": "orders", "image": "orders", "unknown": 1}],
    }
    found = "\n".join(faults("ecs", "RegisterTaskDefinition", request))
    assert "Unknown parameter" in found
    assert "'vpc' is none of" in found
    name = {"Name": "-" * 200, "NamespaceId": "n"}
    assert "does not match" in "\n".join(faults("servicediscovery", "CreateService", name))
    longer = {"logGroupName": "l" * 600}
    assert "600 is more than 512" in "\n".join(faults("logs", "CreateLogGroup", longer))


@pytest.mark.parametrize("settings", FORMS)
def test_cfn_lint_has_nothing_to_say(export, settings):
    assert lint(export(*settings), "eu-central-1", "us-east-1") == []


def test_cfn_lint_finds_faults():
    template = {"Resources": {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"Nam": 1}}}}
    assert lint(json.dumps(template), "eu-central-1")


def containers(stack):
    found = stack.of_type("ECS::TaskDefinition").values()
    return {each["ContainerDefinitions"][0]["Name"]: each for each in found}


def test_a_task_has_no_rights_and_its_time_to_stop(export):
    task = containers(Stack(yaml.safe_load(export())))["Order_Desk"]
    (container,) = task["ContainerDefinitions"]
    assert (task["Cpu"], task["Memory"], task["NetworkMode"]) == ("1024", "2048", "awsvpc")
    assert (container["Cpu"], container["Memory"], container["StopTimeout"]) == (1024, 256, 70)
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert container["HealthCheck"]["Command"] == ["CMD", "eventmesh", "health"]
    assert container["LogConfiguration"]["Options"]["awslogs-group"] == "/eventmesh/shop/Order_Desk"
    environment = {each["Name"]: each["Value"] for each in container["Environment"]}
    # The address is the broker's own, and a public authority signed its certificate.
    assert environment["EVENTMESH_BROKER"] == (
        "amqps://Order_Desk@b-1234.mq.eu-central-1.on.aws/?password_file=/run/secrets/Order_Desk"
    )


def test_a_fargate_size_is_the_smallest_that_holds_a_task(export):
    tasks = containers(Stack(yaml.safe_load(export("services.stock.memory=3000M"))))
    assert (tasks["stock"]["Cpu"], tasks["stock"]["Memory"]) == ("512", "3072")
    for task in tasks.values():
        assert int(task["Memory"]) in FARGATE[int(task["Cpu"])]
    ec2 = containers(Stack(yaml.safe_load(export("ecs.launch_type=EC2"))))
    assert (ec2["Order_Desk"]["Cpu"], ec2["Order_Desk"]["Memory"]) == ("1024", "256")


def test_an_execution_role_reads_the_secrets_of_its_task_alone(export):
    stack = Stack(
        yaml.safe_load(export("ecs.secrets_key=arn:aws:kms:eu-central-1:123456789012:key/k"))
    )
    found = stack.of_type("IAM::Role")
    (policy,) = found["StockExecutionRole"]["Policies"]
    allowed = {
        each["Action"][0]: each["Resource"] for each in policy["PolicyDocument"]["Statement"]
    }
    assert allowed["secretsmanager:GetSecretValue"] == [
        SECRET.format(f"{name}").replace("shop/", "") for name in ("StockSecret", "StockDbSecret")
    ]
    assert allowed["ecr:BatchCheckLayerAvailability"] == [
        "arn:aws:ecr:eu-central-1:123456789012:repository/shop/stock"
    ]
    assert set(allowed) == {
        "secretsmanager:GetSecretValue",
        "kms:Decrypt",
        "logs:CreateLogStream",
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
    }
    # The only one for everything is a token, which has no resource.
    assert [name for name, each in allowed.items() if each == ["*"]] == [
        "ecr:GetAuthorizationToken"
    ]
    assert set(found["StockTaskRole"]) == {"AssumeRolePolicyDocument"}


def reachable(stack):
    """Return who may reach whom at which port, by the names of security groups."""
    rules = stack.of_type("EC2::SecurityGroupIngress").values()
    found = {(each["SourceSecurityGroupId"], each["GroupId"], each["FromPort"]) for each in rules}
    return {(source[3:], group[3:], port) for source, group, port in found}


def test_security_groups_let_only_the_mesh_in(export):
    stack = Stack(yaml.safe_load(export()))
    assert reachable(stack) == {
        *(
            (name, "BrokerGroup", 5671)
            for name in ("GatewayGroup", "OperatorGroup", "OrderDeskGroup", "StockGroup")
        ),
        ("OperatorGroup", "BrokerGroup", 443),
        *(("MonitoringGroup", f"{name}Group", 9464) for name in ("Gateway", "OrderDesk", "Stock")),
        ("DoorGroup", "GatewayGroup", 8080),
        ("DoorGroup", "GatewayGroup", 9464),
    }
    groups = stack.of_type("EC2::SecurityGroup")
    # Only the load balancer is reached from outside the VPC.
    assert [name for name, each in groups.items() if "SecurityGroupIngress" in each] == [
        "DoorGroup"
    ]
    closed = groups["StockGroup"]["SecurityGroupEgress"]
    assert {each["FromPort"] for each in closed} == {5671, 443}
    assert not [each for each in closed if "CidrIp" in each or "CidrIpv6" in each]
    assert {"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"} in groups["OrderDeskGroup"][
        "SecurityGroupEgress"
    ]


def test_a_service_keeps_its_count_and_takes_a_bad_version_back(export):
    template = yaml.safe_load(export("services.Order_Desk.count=3"))
    for running, count in ((True, 3), (False, 0)):
        found = Stack(template, running=running).of_type("ECS::Service")
        assert found["OrderDeskService"]["DesiredCount"] == count
    gateway, orders = found["GatewayService"], found["OrderDeskService"]
    assert orders["DeploymentConfiguration"] == {
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
    }
    assert "LoadBalancers" not in orders
    assert gateway["LoadBalancers"][0]["ContainerPort"] == 8080
    names = Stack(template).of_type("ServiceDiscovery::Service")
    assert names["OrderDeskName"]["Name"] == "order-desk"


def policies(stack):
    return {
        each["PolicyName"]: each["TargetTrackingScalingPolicyConfiguration"]
        for each in stack.of_type("ApplicationAutoScaling::ScalingPolicy").values()
    }


def test_services_are_scaled_by_the_backlog_of_each_task(export):
    stack = Stack(yaml.safe_load(export()))
    found = policies(stack)
    inbox = found["shop-stock-em.inbox.stock.reserve"]
    waiting, tasks, backlog = inbox["CustomizedMetricSpecification"]["Metrics"]
    assert inbox["TargetValue"] == 10
    assert backlog["Expression"] == "FILL(waiting, 0) / tasks"
    metric = waiting["MetricStat"]["Metric"]
    assert (metric["Namespace"], metric["MetricName"]) == ("AWS/AmazonMQ", "MessageReadyCount")
    assert {each["Name"]: each["Value"] for each in metric["Dimensions"]} == {
        "Broker": "shop",
        "VirtualHost": "/",
        "Queue": "em.inbox.stock.reserve",
    }
    assert tasks["MetricStat"]["Metric"]["MetricName"] == "RunningTaskCount"
    assert [each["ReturnData"] for each in (waiting, tasks, backlog)] == [False, False, True]
    bounds = stack.of_type("ApplicationAutoScaling::ScalableTarget")
    assert stack.of_type("ECS::Service")["StockService"]["DesiredCount"] == 1
    # From none nothing starts the first.
    assert bounds["StockScaling"]["MinCapacity"] == 1
    assert bounds["StockScaling"]["ResourceId"] == "service/Cluster/shop-stock"


def test_where_nothing_counts_messages_the_cpu_decides(export):
    given = [word for each in (*SETTINGS, ELSEWHERE) for word in ("--set", each)]
    result = CliRunner().invoke(cli, ["export", "ecs", "orders", "stock", *given])
    assert set(policies(Stack(yaml.safe_load(result.stdout)))) == {
        "shop-gateway-cpu",
        "shop-Order_Desk-cpu",
        "shop-stock-cpu",
    }
    assert "nothing publishes the lengths of queues to CloudWatch" in result.stderr
    assert "stock: minimum=0, and one task stays" in result.stderr
    assert "gateway: the smallest task on Fargate" in result.stderr
    assert "stock: the smallest" not in result.stderr


def test_rabbitmq_is_one_that_amazon_mq_has(export):
    broker = Stack(yaml.safe_load(export())).of_type("AmazonMQ::Broker")["Broker"]
    assert (broker["EngineVersion"], broker["DeploymentMode"]) == ("3.13", "SINGLE_INSTANCE")
    assert broker["HostInstanceType"] == "mq.m7g.large"
    assert broker["PubliclyAccessible"] is False
    assert broker["Users"][0]["Password"] == (
        "{{resolve:secretsmanager:BrokerAdministrator:SecretString:password}}"
    )
    cluster = Stack(yaml.safe_load(export("rabbitmq.nodes=3", "rabbitmq.memory=16G")))
    assert cluster.of_type("AmazonMQ::Broker")["Broker"]["HostInstanceType"] == "mq.m7g.xlarge"
    assert len(cluster.of_type("AmazonMQ::Broker")["Broker"]["SubnetIds"]) == 2
    assert "Amazon MQ has 1 node" in export("rabbitmq.nodes=5", code=2)
    assert "more than an instance of Amazon MQ has" in export("rabbitmq.memory=2000G", code=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("registry=",), "Amazon ECS pulls images from a registry"),
        (("services.stock.cpus=20",), "stock: cpus=20 and memory=512 MiB are more than"),
        (("ecs.policies.mail=[]",), "deploy.ecs.policies.mail: there is no such service"),
        (("ecs.secrets.orders=shop/orders",), "deploy.ecs.secrets.orders: String should match"),
        (("services.stock.environment.LONG=" + "x" * 70_000,), "stock: its task definition has"),
        (("name=" + "n" * 40, "services.stock.secrets=['stock.db']"), "would both be"),
    ],
)
def test_what_ecs_would_refuse_is_refused(export, settings, message):
    assert message in export(*settings, code=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stock_", "'stock_' and 'stock' would both be 'Stock'"),
        ("sTock", "'sTock' and 'stock' would both be 'Stock'"),
        ("broker", "would both be 'Broker'"),
        ("cluster", "two things would be called 'ClusterName'"),
    ],
)
def test_names_that_a_template_cannot_have_are_refused(export, write, name, message):
    write("orders/app.py", ORDERS.replace("Order_Desk", name))
    assert message in export("ecs.cluster=shop", code=2)


def test_a_broker_has_a_short_name(export):
    given = [word for each in SETTINGS[1:] for word in ("--set", each)]
    targets = ["export", "ecs", "orders", "stock", "--output", "n" * 51]
    result = CliRunner().invoke(cli, [*targets, *given])
    assert result.exit_code == 2
    assert "has 51 characters, and Amazon MQ takes 50: set name" in result.stderr


def test_fargate_kills_after_two_minutes(export, write):
    write("orders/app.py", ORDERS.replace("timeout=60", "timeout=111"))
    assert "give its functions a timeout of at most 110 s" in export(code=2)
    ec2 = containers(Stack(yaml.safe_load(export("ecs.launch_type=EC2"))))
    assert ec2["Order_Desk"]["ContainerDefinitions"][0]["StopTimeout"] == 121
    write("orders/app.py", ORDERS.replace("timeout=60", "timeout=110"))
    longest = containers(Stack(yaml.safe_load(export())))
    assert longest["Order_Desk"]["ContainerDefinitions"][0]["StopTimeout"] == 120


def test_limits_of_a_document():
    many = {"containerDefinitions": [{"name": f"c{number}"} for number in range(11)]}
    with pytest.raises(SettingsError, match="11 containers are in one task definition"):
        check_definition("shop", many)
    check_definition("shop", {"containerDefinitions": many["containerDefinitions"][1:]})
    template = {"Resources": {}, "Parameters": {}}
    check_template(template, "x" * 1_000_000)
    with pytest.raises(SettingsError, match="1,000,001 bytes"):
        check_template(template, "x" * 1_000_001)
    with pytest.raises(SettingsError, match="501 resources"):
        check_template({**template, "Resources": dict.fromkeys(map(str, range(501)))}, "")
    with pytest.raises(SettingsError, match="201 parameters"):
        check_template({**template, "Parameters": dict.fromkeys(map(str, range(201)))}, "")


REGISTERED = (
    ELSEWHERE,
    "ecs.region=eu-central-1",
    f"ecs.execution_role={ROLE}",
    *(
        f"ecs.secrets.{name}={SECRET.format(name)}"
        for name in ("gateway", "operator", "Order_Desk", "stock", "stock-db")
    ),
)


def test_task_definitions_are_registered_without_a_template(export, project):
    written = export(*REGISTERED, arguments=("--task-definitions", "--output", "ecs"))
    assert written.splitlines() == [
        f"wrote ecs/shop-{name}.json" for name in ("gateway", "operator", "Order_Desk", "stock")
    ]
    for file in (project / "ecs").iterdir():
        assert faults("ecs", "RegisterTaskDefinition", json.loads(file.read_text())) == []
    stock = json.loads((project / "ecs/shop-stock.json").read_text())
    assert stock["executionRoleArn"] == ROLE
    (container,) = stock["containerDefinitions"]
    assert container["secrets"] == [
        {"name": f"EVENTMESH_SECRETS_{number}", "valueFrom": SECRET.format(name)}
        for number, name in enumerate(("stock", "stock-db"), 1)
    ]
    assert {"name": "EVENTMESH_SECRETS", "value": "stock,stock-db"} in container["environment"]


def test_task_definitions_say_which_values_are_missing(export):
    alone = ("--task-definitions",)
    assert "set broker, such as" in export(arguments=alone, code=2)
    told = export(ELSEWHERE, "ecs.region=eu-central-1", arguments=alone, code=2)
    assert "set ecs.execution_role, ecs.secrets with gateway, operator, Order_Desk" in told


def test_what_is_written_has_the_users_of_rabbitmq_and_no_secret(export, project):
    told = export(arguments=("--output", "out"))
    assert "aws cloudformation deploy --template-file out/template.yaml --stack-name shop" in told
    template = (project / "out/template.yaml").read_text()
    definitions = json.loads((project / "out/broker/definitions.json").read_text())
    users = {each["name"] for each in definitions["users"]}
    assert users == {"gateway", "operator", "Order_Desk", "stock"}
    for user in users:
        assert (project / "out/broker/secrets" / user).read_text() not in template
    again = export(arguments=("--output", "out"), code=2)
    assert "out/template.yaml exists already, and nothing was written" in again
