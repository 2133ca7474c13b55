"""Assertions about the network."""

from typing import Any

from checks.deployment.assertions.created_stack import REGION, CreatedStack, assertion_about
from checks.tables import differing


@assertion_about("AWS::EC2::VPC")
def vpc(made: CreatedStack, name: str) -> list[str]:
    """Its range, and names for its hosts, which private endpoints need."""
    ec2 = made.aws.client("ec2")
    found = ec2.describe_vpcs(VpcIds=[made.ids[name]])["Vpcs"][0]
    hosts = ec2.describe_vpc_attribute(VpcId=made.ids[name], Attribute="enableDnsHostnames")["EnableDnsHostnames"][
        "Value"
    ]
    return differing(range=(found["CidrBlock"], made.parameter("VpcCidr")), names=(hosts, True))


@assertion_about("AWS::EC2::Subnet")
def subnet(made: CreatedStack, name: str) -> list[str]:
    """Its range and VPC; no public addresses; the private ones in different zones."""
    ec2 = made.aws.client("ec2")
    found = ec2.describe_subnets(SubnetIds=[made.ids[name]])["Subnets"][0]
    ranges = {"PrivateSubnet1": "PrivateCidr1", "PrivateSubnet2": "PrivateCidr2", "PublicSubnet": "PublicCidr"}
    zones = {item["AvailabilityZone"] for item in ec2.describe_subnets(SubnetIds=made.subnets())["Subnets"]}
    return differing(
        range=(found["CidrBlock"], made.parameter(ranges[name])),
        vpc=(found["VpcId"], made.vpc()),
        public=(found["MapPublicIpOnLaunch"], False),
        zones=(len(zones), 2),
    )


def routes(made: CreatedStack, table: str) -> dict[str, Any]:
    """A route table."""
    return made.aws.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"][0]


@assertion_about("AWS::EC2::RouteTable")
def route_table(made: CreatedStack, name: str) -> list[str]:
    """It is of the VPC."""
    return differing(vpc=(routes(made, made.ids[name])["VpcId"], made.vpc()))


@assertion_about("AWS::EC2::SubnetRouteTableAssociation")
def association(made: CreatedStack, name: str) -> list[str]:
    """Private subnets on the private table, the public one on the public."""
    table = "PrivateRoutes" if name.startswith("Private") else "PublicRoutes"
    wanted = made.subnets() if table == "PrivateRoutes" else [made.ids["PublicSubnet"]]
    has = [item["SubnetId"] for item in routes(made, made.ids[table])["Associations"] if "SubnetId" in item]
    return differing(subnets=(sorted(has), sorted(wanted)))


@assertion_about("AWS::EC2::Route")
def route(made: CreatedStack, name: str) -> list[str]:
    """The way out: by NAT from the private subnets, by the internet gateway from the public one."""
    table, key, by = (
        ("PrivateRoutes", "NatGatewayId", "Nat")
        if name == "PrivateRoute"
        else ("PublicRoutes", "GatewayId", "InternetGateway")
    )
    out = [
        item.get(key)
        for item in routes(made, made.ids[table])["Routes"]
        if item.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    return differing(out=(out, [made.ids[by]]))


@assertion_about("AWS::EC2::InternetGateway")
@assertion_about("AWS::EC2::VPCGatewayAttachment")
def internet_gateway(made: CreatedStack, _: str) -> list[str]:
    """It is attached to the VPC."""
    gateway = made.aws.client("ec2").describe_internet_gateways(InternetGatewayIds=[made.ids["InternetGateway"]])[
        "InternetGateways"
    ][0]
    return differing(attached=([item["VpcId"] for item in gateway["Attachments"]], [made.vpc()]))


@assertion_about("AWS::EC2::EIP")
@assertion_about("AWS::EC2::NatGateway")
def nat(made: CreatedStack, _: str) -> list[str]:
    """In the public subnet, with the address."""
    gateway = made.aws.client("ec2").describe_nat_gateways(NatGatewayIds=[made.ids["Nat"]])["NatGateways"][0]
    addresses = made.aws.client("ec2").describe_addresses(PublicIps=[made.ids["NatAddress"]])["Addresses"]
    has = [item["AllocationId"] for item in gateway["NatGatewayAddresses"]]
    return differing(
        subnet=(gateway["SubnetId"], made.ids["PublicSubnet"]),
        address=(has, [item["AllocationId"] for item in addresses]),
    )


def rules_of(permissions: list[dict[str, Any]]) -> list[tuple[int | None, str]]:
    """The port of each rule, with the range or group it is for."""
    allowed = []
    for item in permissions:
        others = [entry["CidrIp"] for entry in item["IpRanges"]] + [
            pair["GroupId"] for pair in item["UserIdGroupPairs"]
        ]
        allowed += [(item.get("FromPort"), other) for other in others]
    return sorted(allowed, key=str)


@assertion_about("AWS::EC2::SecurityGroup")
def security_group(made: CreatedStack, name: str) -> list[str]:
    """Its rules of ingress and egress."""
    group = made.aws.client("ec2").describe_security_groups(GroupIds=[made.ids[name]])["SecurityGroups"][0]
    https, metrics = [(443, "0.0.0.0/0")], made.parameter("MetricsSourceCidr")
    ingress = {
        "TaskSecurityGroup": [(8080, metrics)] if metrics else [],
        "HostSecurityGroup": [],
        "EndpointSecurityGroup": sorted(
            ((443, made.ids[of]) for of in ("TaskSecurityGroup", "HostSecurityGroup")), key=str
        ),
    }
    out = rules_of(group["IpPermissionsEgress"])
    wanted = [(None, "127.0.0.1/32")] if name == "EndpointSecurityGroup" else https
    found = differing(ingress=(rules_of(group["IpPermissions"]), ingress[name]), vpc=(group["VpcId"], made.vpc()))
    return found + differing(egress=([(None if port == -1 else port, to) for port, to in out], wanted))


@assertion_about("AWS::EC2::VPCEndpoint")
def endpoint(made: CreatedStack, name: str) -> list[str]:
    """Its service; a gateway on the private route tables; an interface in both subnets, with private names."""
    has = made.aws.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[made.ids[name]])["VpcEndpoints"][0]
    service = made.files.properties(name)["ServiceName"]["Fn::Sub"].replace("${AWS::Region}", REGION)
    found = differing(service=(has["ServiceName"], service), vpc=(has["VpcId"], made.vpc()))
    if has["VpcEndpointType"] == "Gateway":
        return found + differing(tables=(has["RouteTableIds"], made.tables()))
    groups = [item["GroupId"] for item in has["Groups"]]
    return found + differing(
        subnets=(sorted(has["SubnetIds"]), sorted(made.subnets())),
        names=(has["PrivateDnsEnabled"], True),
        groups=(groups, [made.ids["EndpointSecurityGroup"]]),
    )
